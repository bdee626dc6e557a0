package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// mssqlTrigger scales on the result of a query against Microsoft SQL Server or
// Azure SQL.
var mssqlTrigger = scaler.Define("mssql", openMSSQL)

// mssqlParams is the metadata of a mssql trigger.
type mssqlParams struct {
	scaler.PodIdentity

	// Query returns one number in the first column of its first row. A query
	// without rows is 0.
	Query string `param:"query,required" long:"true"`
	// TargetValue is the target of the number.
	TargetValue float64 `param:"targetValue" role:"target"`
	// ActivationTargetValue is the activation threshold.
	ActivationTargetValue float64 `param:"activationTargetValue" default:"0" role:"activation"`
	// ConnectionString is a URL, an ADO or an ODBC connection string. It
	// replaces the parameters below.
	ConnectionString string `param:"connectionString" from:"auth,env" secret:"true"`
	// Host is the server.
	Host string `param:"host" from:"auth,trigger" without:"connectionString"`
	// Port is the server's, 1433 by default.
	Port int `param:"port" from:"auth,trigger"`
	// Username logs in.
	Username string `param:"username" from:"auth,trigger"`
	// Password belongs to username.
	Password string `param:"password" from:"auth,env" secret:"true"`
	// Database is the login's own by default.
	Database string `param:"database" from:"auth,trigger"`
}

// Validate checks the identity.
func (p mssqlParams) Validate() error {
	switch p.Provider {
	case "", "none", "azure-workload":
		return nil
	default:
		return fmt.Errorf("podIdentity: provider %s is not for mssql, only azure-workload is", p.Provider)
	}
}

// ReadTimeout is the longest of the connection string's own timeouts.
func (p mssqlParams) ReadTimeout() time.Duration {
	config, err := parseMSSQL(p.dsn())
	if err != nil {
		return 0
	}
	if _, set := config.Parameters[msdsn.DialTimeout]; set {
		return max(config.ConnTimeout, config.DialTimeout)
	}
	return config.ConnTimeout
}

// Name is constant, as in KEDA.
func (mssqlParams) Name() string { return "mssql" }

// dsn is the connection string, as a URL unless the user gave another.
func (p mssqlParams) dsn() string {
	if p.ConnectionString != "" {
		return p.ConnectionString
	}
	u := url.URL{Scheme: "sqlserver", Host: p.Host}
	if p.Port != 0 {
		u.Host = net.JoinHostPort(strings.Trim(p.Host, "[]"), strconv.Itoa(p.Port))
	}
	switch {
	case p.Username != "" && p.Password != "":
		u.User = url.UserPassword(p.Username, p.Password)
	case p.Username != "":
		u.User = url.User(p.Username)
	}
	if p.Database != "" {
		u.RawQuery = url.Values{"database": {p.Database}}.Encode()
	}
	return u.String()
}

func openMSSQL(ctx context.Context, p mssqlParams) (scaler.Source, error) {
	dsn := p.dsn()
	d, err := share(ctx, []any{"mssql", dsn, p.PodIdentity}, func(ctx context.Context) (*database, error) {
		config, err := parseMSSQL(dsn)
		if err != nil {
			return nil, err
		}
		for _, host := range []string{config.Host, config.FailOverPartner} {
			if err := client.DialerOf(ctx).Check(host); host != "" && err != nil {
				return nil, err
			}
		}
		if config.HostInCertificateProvided && config.TLSConfig != nil {
			if err := client.DialerOf(ctx).CheckName(config.TLSConfig.ServerName); err != nil {
				return nil, err
			}
		}
		inner, dialer := mssql.NewConnectorConfig(belowTLS(config)), client.DialerOf(ctx) //dials:through its Dialer
		if p.Provider == "azure-workload" {
			if inner, err = entraMSSQL(ctx, p.PodIdentity, &config); err != nil {
				return nil, err
			}
			dialer = dialer.Lending(lending.AzureSQL, "host", true)
		}
		inner.Dialer = lineDialer{dialer.DialContext, config}
		what := "mssql " + config.Host
		if config.Port != 0 {
			what = "mssql " + net.JoinHostPort(config.Host, strconv.FormatUint(config.Port, 10))
		}
		return &database{DB: sql.OpenDB(connector{inner}), what: what, explain: explainMSSQL}, nil //dials:through its connector
	})
	if err != nil {
		return nil, err
	}
	none := func() ([]scaler.Reading, error) { return scaler.One(0), nil } // KEDA's rule for this type
	return &source{database: d, query: p.Query, none: none}, nil
}

// mssqlRefusals are errors of SQL Server by number.
//
// Source: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
var mssqlRefusals = map[int32]refusal{
	102:   {codes.InvalidArgument, "query: is not valid"},
	156:   {codes.InvalidArgument, "query: is not valid"},
	207:   {codes.InvalidArgument, "query: a column does not exist"},
	208:   {codes.NotFound, "query: a table does not exist"},
	229:   {codes.PermissionDenied, "query: the user lacks a permission that it needs"},
	916:   {codes.PermissionDenied, "the user may not access the database"},
	4060:  {codes.PermissionDenied, "the database does not exist, or the user may not access it"},
	18452: {codes.Unauthenticated, "login refused"},
	18456: {codes.Unauthenticated, "login refused"},
	40613: {codes.Unavailable, "the database is not available at present"},
}

func explainMSSQL(err error) (codes.Code, string) {
	var answered mssql.Error
	if errors.As(err, &answered) {
		if r, known := mssqlRefusals[answered.Number]; known {
			return r.code, fmt.Sprintf("%s (error %d)", r.text, answered.Number)
		}
		return codes.Unavailable, fmt.Sprintf("answered with error %d", answered.Number)
	}
	if code, text, known := network(err); known {
		return code, text
	}
	return codes.Unavailable, "the connection failed"
}
