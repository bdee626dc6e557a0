package main

import (
	"context"
	"crypto/tls"

	"github.com/jackc/pgx/v5"
	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Tokens of Entra are the family's own, so they go to Azure's databases and to
// those that the family was started with. Azure's are known by their
// certificates, whatever the trigger says about those: many modes of these
// clients look at none.

// verifying is the configuration of a client that lets nobody but host answer.
func verifying(host string) (*tls.Config, error) {
	config, err := client.TLSParams{}.Config(false)
	if err != nil {
		return nil, err
	}
	config.ServerName = host
	return config, nil
}

// entraPostgreSQL has each new connection log in with a token that is valid
// then.
func entraPostgreSQL(ctx context.Context, id scaler.PodIdentity, config *pgx.ConnConfig) (func(context.Context, *pgx.ConnConfig) error, error) {
	var names []string
	for host := range hosts(config) {
		names = append(names, host)
	}
	encrypted := true
	harden := func(host string, own **tls.Config) (err error) {
		switch {
		case lending.Listed(host):
		case *own == nil:
			encrypted = false
		default:
			*own, err = verifying(host)
		}
		return err
	}
	if err := harden(config.Host, &config.TLSConfig); err != nil {
		return nil, err
	}
	for _, other := range config.Fallbacks {
		if err := harden(other.Host, &other.TLSConfig); err != nil {
			return nil, err
		}
	}
	loan, err := lending.AzurePostgreSQL.Lend("host", encrypted, names...)
	if err != nil {
		return nil, err
	}
	tokens, err := azure.TokensFor(ctx, id, loan)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, config *pgx.ConnConfig) (err error) {
		config.Password, err = tokens.Token(ctx, "token")
		return err
	}, nil
}

// entraMSSQL does the same for SQL Server. The dialer makes TLS as config says
// then, and sees to the hosts that a server redirects to.
func entraMSSQL(ctx context.Context, id scaler.PodIdentity, config *msdsn.Config) (*mssql.Connector, error) {
	loan, err := lending.AzureSQL.Lend("host", true, config.Host)
	if err != nil {
		return nil, err
	}
	if !lending.Listed(config.Host) {
		if config.TLSConfig, err = verifying(config.Host); err != nil {
			return nil, err
		}
		config.HostInCertificateProvided, config.TrustServerCertificate = false, false
		if config.Encryption != msdsn.EncryptionStrict {
			config.Encryption = msdsn.EncryptionRequired
		}
	}
	tokens, err := azure.TokensFor(ctx, id, loan)
	if err != nil {
		return nil, err
	}
	//dials:through the Dialer that openMSSQL gives it
	return mssql.NewSecurityTokenConnector(belowTLS(*config), func(ctx context.Context) (string, error) { return tokens.Token(ctx, "token") })
}
