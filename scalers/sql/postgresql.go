package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/params"
)

// postgresql scales on the result of a query against PostgreSQL.
var postgresql = scaler.Define("postgresql", openPostgreSQL,
	scaler.RingsAt("with listenChannel and while the trigger is idle, one session that listens, whatever the number of triggers; "+
		"whoever makes work has to NOTIFY the channel; not through PgBouncer in transaction mode"))

// postgresqlParams is the metadata of a postgresql trigger.
type postgresqlParams struct {
	scaler.PodIdentity

	// Query returns one number in the first column of its first row.
	Query string `param:"query,required" long:"true"`
	// TargetQueryValue is the target of the number.
	TargetQueryValue float64 `param:"targetQueryValue" role:"target"`
	// ActivationTargetQueryValue is the activation threshold.
	ActivationTargetQueryValue float64 `param:"activationTargetQueryValue" default:"0" role:"activation"`
	// Connection is a connection string, as URL or keywords. It replaces the
	// five parameters below. Pod identity azure-workload ignores it.
	Connection string `param:"connection" from:"auth,env" secret:"true"`
	// Host is the server.
	Host string `param:"host" from:"auth,trigger" without:"connection"`
	// Port is the server's.
	Port string `param:"port" from:"auth,trigger" without:"connection"`
	// UserName logs in.
	UserName string `param:"userName" from:"auth,trigger" without:"connection"`
	// DBName is the database.
	DBName string `param:"dbName" from:"auth,trigger" without:"connection"`
	// SSLMode is that of libpq, such as disable, require or verify-full.
	SSLMode string `param:"sslmode" from:"auth,trigger" without:"connection"`
	// Password belongs to userName.
	Password string `param:"password" from:"auth,env" secret:"true"`
	// ListenChannel is a channel of NOTIFY. A notification, whatever it says,
	// has the query run at once while the trigger is idle. KEDA has nothing
	// like it and ignores it.
	ListenChannel string `param:"listenChannel"`
}

// Validate checks what is required where pod identity ignores the connection.
func (p postgresqlParams) Validate() error {
	if !p.entra() {
		return nil
	}
	p.Connection = ""
	return params.Missing(p)
}

// entra reports whether tokens of Entra log in.
func (p postgresqlParams) entra() bool { return p.Provider == "azure-workload" }

// ReadTimeout is the longest of the connection string's own timeouts.
func (p postgresqlParams) ReadTimeout() time.Duration {
	config, err := parsePostgreSQL(p.dsn())
	if err != nil {
		return 0
	}
	// It is in milliseconds without a unit. The server reports what is neither.
	statement, err := time.ParseDuration(config.RuntimeParams["statement_timeout"])
	if number, failed := strconv.ParseInt(config.RuntimeParams["statement_timeout"], 10, 32); failed == nil {
		statement, err = time.Duration(number)*time.Millisecond, nil
	}
	if err != nil {
		statement = 0
	}
	return max(config.ConnectTimeout, statement)
}

// Name is constant, as in KEDA.
func (postgresqlParams) Name() string { return "postgresql" }

// Silent keeps the doorbell off unless a channel is named.
func (p postgresqlParams) Silent() string {
	if p.ListenChannel == "" {
		return "listenChannel is not set"
	}
	return ""
}

// dsn is the connection string in keywords.
func (p postgresqlParams) dsn() string {
	if p.Connection != "" && !p.entra() {
		return p.Connection
	}
	text := fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=%s",
		quoted(p.Host), quoted(p.Port), quoted(p.UserName), quoted(p.DBName), quoted(p.SSLMode))
	if p.Password != "" && !p.entra() {
		text += " password=" + quoted(p.Password)
	}
	return text
}

var escaper = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

func quoted(value string) string { return "'" + escaper.Replace(value) + "'" }

func openPostgreSQL(ctx context.Context, p postgresqlParams) (scaler.Source, error) {
	dsn := p.dsn()
	d, err := share(ctx, []any{"postgresql", dsn, p.PodIdentity}, func(ctx context.Context) (*database, error) {
		return newPostgreSQL(ctx, p, dsn)
	})
	if err != nil {
		return nil, err
	}
	return &postgresqlSource{source{database: d, query: p.Query, none: noRows}, p.ListenChannel}, nil
}

func newPostgreSQL(ctx context.Context, p postgresqlParams, dsn string) (*database, error) {
	config, err := parsePostgreSQL(dsn)
	if err != nil {
		return nil, err
	}
	dialer := client.DialerOf(ctx)
	for host := range hosts(config) {
		if err := dialer.Check(host); err != nil {
			return nil, err
		}
	}
	overTheirLines(config, dialer.DialResolved, client.HashingOf(ctx))
	if !strings.Contains(dsn, "default_query_exec_mode") {
		// One round trip without a prepared statement, which poolers in front
		// of a database lose.
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	login := func(context.Context, *pgx.ConnConfig) error { return nil }
	if p.entra() {
		if login, err = entraPostgreSQL(ctx, p.PodIdentity, config); err != nil {
			return nil, err
		}
	}
	d := &database{
		DB:      sql.OpenDB(connector{queriesOf(config, login)}), //dials:through DialFunc of its configuration
		what:    "postgresql " + net.JoinHostPort(config.Host, fmt.Sprint(config.Port)),
		explain: explainPostgreSQL,
	}
	d.notify = subscriber{config, login, usualLimits}.listen
	return d, nil
}

// queriesOf opens sessions that run queries and listen to nothing.
func queriesOf(config *pgx.ConnConfig, login func(context.Context, *pgx.ConnConfig) error) driver.Connector {
	own := *config
	own.OnNotification = unheardOf
	return stdlib.GetConnector(own, stdlib.OptionBeforeConnect(login))
}

// postgresqlRefusals are errors of PostgreSQL by SQLSTATE, or by its class.
//
// Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
var postgresqlRefusals = map[string]refusal{
	"28":    {codes.Unauthenticated, "login refused"},
	"3D000": {codes.NotFound, "the database does not exist"},
	"42501": {codes.PermissionDenied, "query: the user lacks a permission that it needs"},
	"42P01": {codes.NotFound, "query: a table does not exist"},
	"42":    {codes.InvalidArgument, "query: is not valid"},
	"22":    {codes.FailedPrecondition, "query: fails on the data"},
	"53":    {codes.Unavailable, "has too little of a resource, such as connections"},
	"57014": {codes.DeadlineExceeded, "query: was cancelled by the server"},
	"57":    {codes.Unavailable, "is starting, stopping or otherwise not there"},
}

func explainPostgreSQL(err error) (codes.Code, string) {
	var answered *pgconn.PgError
	if errors.As(err, &answered) && len(answered.Code) == 5 {
		for _, state := range []string{answered.Code, answered.Code[:2]} {
			if r, known := postgresqlRefusals[state]; known {
				return r.code, r.text + " (SQLSTATE " + answered.Code + ")"
			}
		}
		return codes.Unavailable, "answered with SQLSTATE " + answered.Code
	}
	if code, text, known := network(err); known {
		return code, text
	}
	var handshake tls.RecordHeaderError
	if errors.As(err, &handshake) || strings.Contains(err.Error(), "server refused TLS connection") {
		return codes.Unavailable, "sslmode: the server offers no TLS"
	}
	return codes.Unavailable, "the connection failed"
}
