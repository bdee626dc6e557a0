package main

import (
	"maps"
	"slices"

	"github.com/microsoft/go-mssqldb/msdsn"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// mssqlOptions are those that a connection string may have, in the driver's
// words and in those of ADO.NET and ODBC, many of which the driver ignores.
var mssqlOptions = []string{
	"server", "port", "protocol", "database", "user id", "password", "authenticator", "app name", "workstation id",
	"encrypt", "trustservercertificate", "certificate", "servercertificate", "hostnameincertificate", "tlsmin", "epa enabled",
	"connection timeout", "dial timeout", "keepalive", "packet size", "log", "disableretry", "notraceid",
	"applicationintent", "failoverpartner", "failoverport", "failoverpartnerspn", "multisubnetfailover", "serverspn",
	"guid conversion", "timezone",

	"data source", "address", "addr", "network address", "initial catalog", "user", "uid", "pwd", "app", "application name", "wsid",
	"connect timeout", "timeout", "command timeout", "connectretrycount", "connect retry count", "connectretryinterval", "connect retry interval",
	"application intent", "failover partner", "failover partner spn", "multi subnet failover", "multisubnetfailover", "server spn",
	"trust server certificate", "host name in certificate", "server certificate",
	"driver", "persist security info", "persistsecurityinfo", "multipleactiveresultsets", "multiple active result sets", "mars_connection",
	"integrated security", "trusted_connection", "authentication", "pooling", "min pool size", "max pool size", "connection lifetime",
	"load balance timeout", "poolblockingperiod", "pool blocking period", "enlist", "current language", "language", "network library", "net",
	"transparentnetworkipresolution", "transparent network ip resolution", "type system version", "asynchronous processing", "async",
}

// mssqlFiles are options that name a file.
var mssqlFiles = []string{msdsn.Certificate, msdsn.ServerCertificate}

// mssqlRefused are options of the driver that no trigger sets.
var mssqlRefused = []string{
	"change password", "columnencryption", "pipe", "krb5-configfile", "krb5-keytabfile", "krb5-credcachefile", "krb5-realm", "krb5-dnslookupkdc",
	"krb5-udppreferencelimit", "keystoreauthentication", "keystoreprincipalid", "keystoresecret", "keystorelocation",
}

// The driver has each of its protocols look at the server's name after it has
// split a connection string, and before it opens the files that are named
// there. So that is where options are judged, and there is no protocol but this
// one: neither pipes nor shared memory.
func init() { //nolint:gochecknoinits // the driver keeps its protocols in a variable
	msdsn.ProtocolParsers = []msdsn.ProtocolParser{judge{msdsn.ProtocolParsers[0]}}
}

// judge is TCP, for connection strings that have nothing but options they may
// have.
type judge struct{ msdsn.ProtocolParser }

// verdict is where a judge leaves its error.
const verdict = "verdict"

// ParseServer implements the driver's interface.
func (j judge) ParseServer(server string, config *msdsn.Config) error {
	if err := judgeMSSQL(config.Parameters); err != nil {
		config.ProtocolParameters[verdict] = err
		for _, option := range mssqlFiles { // the driver goes on where no protocol was asked for
			delete(config.Parameters, option)
		}
		return err
	}
	return j.ProtocolParser.ParseServer(server, config)
}

func judgeMSSQL(options map[string]string) error {
	for _, option := range slices.Sorted(maps.Keys(options)) {
		if !slices.Contains(mssqlOptions, option) {
			return refusedOption("connectionString", option, mssqlRefused)
		}
	}
	for _, option := range mssqlFiles {
		if path := options[option]; path != "" {
			if err := checkOptionFile("connectionString", option, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseMSSQL is what the driver makes of a connection string that has nothing
// but options it may have. No file is opened but those listed.
func parseMSSQL(dsn string) (msdsn.Config, error) {
	if err := tooLong("connectionString", dsn); err != nil {
		return msdsn.Config{}, err
	}
	config, err := understood(func() (msdsn.Config, error) { return msdsn.Parse(dsn) })
	if err, refused := config.ProtocolParameters[verdict].(error); refused {
		return config, err
	}
	if err != nil { // its text may quote the password
		return config, scaler.Errorf(codes.InvalidArgument, "connectionString: is not a connection string that SQL Server's clients understand")
	}
	config.LogFlags = 0
	return config, nil
}
