package main

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// postgresqlOptions are those that a connection string may have. Settings of
// the session that are not among them go into "options".
var postgresqlOptions = []string{
	"host", "port", "dbname", "user", "password", "connect_timeout", "target_session_attrs",
	"sslmode", "sslnegotiation", "sslsni", "sslcertmode", "sslpassword", "channel_binding", "require_auth",
	"min_protocol_version", "max_protocol_version",
	"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity",
	"application_name", "client_encoding", "datestyle", "default_transaction_isolation", "default_transaction_read_only",
	"extra_float_digits", "idle_in_transaction_session_timeout", "idle_session_timeout", "intervalstyle", "lock_timeout",
	"options", "role", "search_path", "statement_timeout", "timezone", "transaction_timeout", "work_mem",
}

// postgresqlFiles are options that name a file, or are the word "system" for
// the authorities of the system.
var postgresqlFiles = []string{"sslrootcert", "sslcert", "sslkey"}

// postgresqlRefused are options of the driver, or of its relatives, that no
// trigger sets.
var postgresqlRefused = []string{
	"passfile", "service", "servicefile", "krbsrvname", "krbspn", "gssencmode", "gsslib", "sslcrl", "sslcrldir", "sslcompression",
	"replication", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "fallback_application_name",
	"pool_max_conns", "pool_min_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time", "pool_health_check_period",
}

// mostCached bounds statements that a session keeps: the driver makes room for
// all of them at once.
const mostCached = 16

// parsePostgreSQL is what the driver makes of a connection string that has
// nothing but options it may have. No file is opened but those listed.
func parsePostgreSQL(dsn string) (*pgx.ConnConfig, error) {
	if err := tooLong("connection", dsn); err != nil {
		return nil, err
	}
	config, err := parseAllowed(dsn, postgresqlOptions)
	if err != nil {
		if rewritten, failed := withListedFiles(dsn); failed != nil {
			return nil, failed
		} else if rewritten != "" {
			config, err = parseAllowed(rewritten, slices.Concat(postgresqlOptions, postgresqlFiles))
		}
	}
	if err != nil {
		return nil, postgresqlProblem(err)
	}
	servers := map[string]bool{}
	for host, port := range hosts(config) {
		servers[fmt.Sprint(host, port)] = true
	}
	if err := client.CheckServers("connection", len(servers)); err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "%w", err)
	}
	config.StatementCacheCapacity = min(config.StatementCacheCapacity, mostCached)
	config.DescriptionCacheCapacity = min(config.DescriptionCacheCapacity, mostCached)
	for host, port := range hosts(config) {
		if network, _ := pgconn.NetworkAddress(host, port); network != "tcp" {
			return nil, scaler.Errorf(codes.InvalidArgument, "host: is a path; sockets of the family's own file system are no event source")
		}
	}
	return config, nil
}

func parseAllowed(dsn string, options []string) (*pgx.ConnConfig, error) {
	return understood(func() (*pgx.ConnConfig, error) {
		return pgx.ParseConfigWithOptions(dsn, pgx.ParseConfigOptions{
			ParseConfigOptions: pgconn.ParseConfigOptions{ConnStringAllowedKeys: options},
		})
	})
}

// hosts are all that a connection may go to.
func hosts(config *pgx.ConnConfig) func(yield func(host string, port uint16) bool) {
	return func(yield func(string, uint16) bool) {
		if !yield(config.Host, config.Port) {
			return
		}
		for _, fallback := range config.Fallbacks {
			if !yield(fallback.Host, fallback.Port) {
				return
			}
		}
	}
}

// notAllowed is how the driver says which option is not allowed. The text in
// front of it quotes the connection string.
const notAllowed = "connection string key "

// postgresqlProblem is an error of the driver without what it quotes.
func postgresqlProblem(err error) error {
	text := err.Error()
	at := strings.LastIndex(text, notAllowed)
	if at < 0 || !errors.As(err, new(*pgconn.ParseConfigError)) {
		return scaler.Errorf(codes.InvalidArgument, "connection: is not a connection string that PostgreSQL's clients understand")
	}
	quoted, _ := strconv.QuotedPrefix(text[at+len(notAllowed):])
	option, _ := strconv.Unquote(quoted)
	return refusedOption("connection", option, postgresqlRefused)
}

// withListedFiles writes a connection string that names files anew, so that the
// driver sees the very paths that were checked. It is empty for one that names
// none. The driver opens files while it parses, too late to judge what it
// parsed.
func withListedFiles(dsn string) (string, error) {
	settings := keywords(dsn)
	named := 0
	for _, option := range postgresqlFiles {
		path := settings[option]
		if path == "" {
			continue
		}
		named++
		if path == "system" && option == "sslrootcert" {
			continue
		}
		if err := checkOptionFile("connection", option, path); err != nil {
			return "", err
		}
	}
	if named == 0 {
		return "", nil
	}
	var text strings.Builder
	for _, option := range slices.Sorted(maps.Keys(settings)) {
		if !plainOption.MatchString(option) {
			return "", refusedOption("connection", option, postgresqlRefused)
		}
		text.WriteString(option + "=" + quoted(settings[option]) + " ")
	}
	return text.String(), tooLong("connection", text.String())
}

var plainOption = regexp.MustCompile(`^[a-z_]+$`)

// keywords are the options of a connection string as far as it is plain; nil
// for one that is not.
func keywords(dsn string) map[string]string {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return keywordsOfText(dsn)
	}
	settings := map[string]string{}
	for option, values := range u.Query() {
		settings[option] = values[len(values)-1]
	}
	password, _ := u.User.Password()
	for option, value := range map[string]string{
		"user": u.User.Username(), "password": password, "host": u.Hostname(), "port": u.Port(), "dbname": strings.TrimPrefix(u.Path, "/"),
	} {
		if _, set := settings[option]; !set && value != "" {
			settings[option] = value
		}
	}
	return settings
}

// pair is an option and its value, quoted or not, and the space behind it.
var (
	pair    = regexp.MustCompile(`^([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?:\s+|$)`)
	escaped = regexp.MustCompile(`\\(.)`)
)

func keywordsOfText(dsn string) map[string]string {
	settings := map[string]string{}
	for rest := strings.TrimSpace(dsn); rest != ""; {
		found := pair.FindStringSubmatch(rest)
		if found == nil {
			return nil
		}
		settings[found[1]] = escaped.ReplaceAllString(found[2]+found[3], "$1")
		rest = rest[len(found[0]):]
	}
	return settings
}
