package main

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// mysqlTrigger scales on the result of a query against MySQL or MariaDB.
var mysqlTrigger = scaler.Define("mysql", openMySQL)

// mysqlParams is the metadata of a mysql trigger.
type mysqlParams struct {
	// Query returns one number in the first column of its first row.
	Query string `param:"query,required" long:"true"`
	// QueryValue is the target of the number.
	QueryValue float64 `param:"queryValue" role:"target"`
	// ActivationQueryValue is the activation threshold.
	ActivationQueryValue float64 `param:"activationQueryValue" default:"0" role:"activation"`
	// ConnectionString is user:password@tcp(host:port)/database?options. It
	// replaces the parameters below.
	ConnectionString string `param:"connectionString" from:"auth,env" secret:"true"`
	// Host is the server.
	Host string `param:"host" from:"trigger,auth" without:"connectionString"`
	// Port is the server's.
	Port string `param:"port" from:"trigger,auth" without:"connectionString"`
	// DBName is the database. Without it the query names one with each table.
	DBName string `param:"dbName" from:"trigger,auth"`
	// Username logs in.
	Username string `param:"username" from:"trigger,auth,env" without:"connectionString"`
	// Password belongs to username.
	Password string `param:"password" from:"auth,env" secret:"true"`
	// MetricName is accepted and has no effect, as in KEDA.
	MetricName string `param:"metricName" question:"false"`
}

// ReadTimeout is the longest of the connection string's own timeouts.
func (p mysqlParams) ReadTimeout() time.Duration {
	config, err := p.config()
	if err != nil {
		return 0
	}
	return max(config.Timeout, config.ReadTimeout)
}

// Name is that of the database. With connectionString that is what comes behind
// the last slash; options are left out of it.
func (p mysqlParams) Name() string {
	if p.ConnectionString == "" && p.DBName == "" && (p.Host == "" || p.Username == "") {
		return "" // known once the authentication is
	}
	name := p.DBName
	if p.ConnectionString != "" {
		name, _, _ = strings.Cut(p.ConnectionString[strings.LastIndex(before(p.ConnectionString), "/")+1:], "?")
	}
	return scaler.MetricName("mysql", name)
}

// before is a connection string without its options, whose values may hold
// slashes. A password may hold question marks, so they begin behind the host.
func before(connection string) string {
	if host := strings.LastIndex(connection, ")/"); host >= 0 {
		end, _, _ := strings.Cut(connection[host:], "?")
		return connection[:host] + end
	}
	return connection
}

// config is how the driver connects.
func (p mysqlParams) config() (*mysql.Config, error) {
	if p.ConnectionString == "" {
		config := mysql.NewConfig()
		config.Net, config.Addr = "tcp", net.JoinHostPort(strings.Trim(p.Host, "[]"), p.Port)
		config.DBName, config.User, config.Passwd = p.DBName, p.Username, p.Password
		return config, nil
	}
	if err := tooLong("connectionString", p.ConnectionString); err != nil {
		return nil, err
	}
	config, err := understood(func() (*mysql.Config, error) { return mysql.ParseDSN(p.ConnectionString) })
	if err != nil { // its text may quote the password
		return nil, scaler.Errorf(codes.InvalidArgument, "connectionString: is not user:password@tcp(host:port)/database?options")
	}
	if config.Net != "tcp" {
		return nil, scaler.Errorf(codes.InvalidArgument, "connectionString: only tcp(host:port) can be connected to")
	}
	// A server may ask for any file that the client may read.
	config.AllowAllFiles = false
	// The driver would ask the server how much it takes, in the midst of a login.
	config.MaxAllowedPacket = cmp.Or(config.MaxAllowedPacket, mysql.NewConfig().MaxAllowedPacket)
	// Compressed, a few bytes are as much memory as the server likes.
	if err := config.Apply(mysql.EnableCompression(false)); err != nil {
		return nil, err
	}
	return config, nil
}

func openMySQL(ctx context.Context, p mysqlParams) (scaler.Source, error) {
	config, err := p.config()
	if err != nil {
		return nil, err
	}
	d, err := share(ctx, []any{"mysql", config.FormatDSN()}, func(ctx context.Context) (*database, error) {
		overLines(config, client.DialerOf(ctx).DialContext)
		config.Logger = &mysql.NopLogger{}
		inner, err := mysql.NewConnector(config) //dials:through DialFunc of its configuration
		if err != nil {
			return nil, scaler.Errorf(codes.InvalidArgument, "connectionString: has options that do not go together")
		}
		return &database{DB: sql.OpenDB(connector{boundedConnector{inner}}), what: "mysql " + config.Addr, explain: explainMySQL}, nil //dials:through its connector
	})
	if err != nil {
		return nil, err
	}
	return &source{database: d, query: p.Query, none: noRows}, nil
}

// boundedConnector has the server end statements by itself. Whoever gives up on
// one closes the connection, which a server does not notice while it executes
// or waits for a lock: it would keep a session for each.
type boundedConnector struct{ driver.Connector }

// boundaries limit a statement to two minutes, which is longer than a read may
// take: that of MariaDB and that of MySQL.
var boundaries = []string{"SET SESSION max_statement_time=120", "SET SESSION max_execution_time=120000"}

// Connect logs in. A server that knows neither boundary goes without.
func (c boundedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	session, ok := conn.(driver.ExecerContext)
	for _, boundary := range boundaries {
		if !ok {
			break
		}
		err := safely(func() error {
			_, err := session.ExecContext(ctx, boundary, nil)
			return err
		})
		if errors.Is(err, errGaveUp) {
			conn.Close() // its error would say less
			return nil, err
		}
		ok = errors.As(err, new(*mysql.MySQLError)) // another server's, so the next one is its own
	}
	return conn, nil
}

// mysqlRefusals are errors of MySQL and MariaDB by number.
//
// Source: https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html,
// https://mariadb.com/kb/en/mariadb-error-code-reference/
var mysqlRefusals = map[uint16]refusal{
	1040: {codes.Unavailable, "has too many connections"},
	1044: {codes.PermissionDenied, "the user may not access the database"},
	1045: {codes.Unauthenticated, "login refused"},
	1049: {codes.NotFound, "the database does not exist"},
	1054: {codes.InvalidArgument, "query: a column does not exist"},
	1064: {codes.InvalidArgument, "query: is not valid"},
	1142: {codes.PermissionDenied, "query: the user lacks a permission that it needs"},
	1143: {codes.PermissionDenied, "query: the user lacks a permission that it needs"},
	1146: {codes.NotFound, "query: a table does not exist"},
	1203: {codes.Unavailable, "has too many connections"},
	1698: {codes.Unauthenticated, "login refused"},
	3118: {codes.Unauthenticated, "login refused: the account is locked"},
	4151: {codes.Unauthenticated, "login refused: the account is locked"}, // MariaDB's
}

func explainMySQL(err error) (codes.Code, string) {
	var answered *mysql.MySQLError
	if errors.As(err, &answered) {
		if r, known := mysqlRefusals[answered.Number]; known {
			return r.code, fmt.Sprintf("%s (error %d)", r.text, answered.Number)
		}
		return codes.Unavailable, fmt.Sprintf("answered with error %d", answered.Number)
	}
	if code, text, known := network(err); known {
		return code, text
	}
	switch {
	case errors.Is(err, mysql.ErrInvalidConn):
		return codes.Unavailable, "the connection was lost"
	case errors.Is(err, mysql.ErrNoTLS):
		return codes.Unavailable, "connectionString: the server offers no TLS"
	}
	return codes.Unavailable, "the connection failed"
}
