package main

import (
	"crypto/tls"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestServersOfATenantGetNoIdentity has an attacker for a database, alone and
// behind one of Azure's.
func TestServersOfATenantGetNoIdentity(t *testing.T) {
	servers.Entra(t, trusted, func(string) string { return "families-own" })
	id := scaler.PodIdentity{Provider: "azure-workload", IdentityID: servers.EntraIdentity, TenantID: servers.EntraTenant}
	thief := scalertest.NewThief(t)
	family := scalertest.Serve(t, triggers...)
	postgres := map[string]string{"query": "SELECT 1", "targetQueryValue": "1", "host": "127.0.0.1", "port": thief.Port(), "userName": "u", "dbName": "d", "sslmode": "require"}
	family.KeepsItsIdentity(t, "postgresql", id, postgres)
	postgres["host"] = "db.postgres.database.azure.com,127.0.0.1"
	family.KeepsItsIdentity(t, "postgresql", id, postgres)
	// Who is on the way may pose as Azure where no certificate is looked at.
	postgres["host"], postgres["sslmode"] = "db.postgres.database.azure.com", "prefer"
	family.KeepsItsIdentity(t, "postgresql", id, postgres)

	mssql := map[string]string{"query": "SELECT 1", "targetValue": "1", "host": "127.0.0.1", "port": thief.Port()}
	family.KeepsItsIdentity(t, "mssql", id, mssql)
	connection := map[string]string{"connectionString": "sqlserver://db.database.windows.net@127.0.0.1:" + thief.Port() + "?database=d"}
	family.WithAuth(connection).KeepsItsIdentity(t, "mssql", id, map[string]string{"query": "SELECT 1", "targetValue": "1"})
}

// TestAzureIsKnownByItsCertificate: modes that look at none are for passwords
// of a tenant.
func TestAzureIsKnownByItsCertificate(t *testing.T) {
	servers.Entra(t, trusted, func(string) string { return "families-own" })
	id := scaler.PodIdentity{Provider: "azure-workload", IdentityID: servers.EntraIdentity, TenantID: servers.EntraTenant}
	ctx, release := scaler.Opening(t.Context())
	defer release()
	for _, mode := range []string{"require", "verify-ca", "verify-full"} {
		config, err := pgx.ParseConfig("host=db.postgres.database.azure.com user=u sslmode=" + mode)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entraPostgreSQL(ctx, id, config); err != nil {
			t.Fatal(err)
		}
		verifies(t, mode, config.TLSConfig, config.Host)
	}
}

func verifies(t *testing.T, what string, config *tls.Config, host string) {
	t.Helper()
	if config == nil || config.InsecureSkipVerify || config.ServerName != host {
		t.Errorf("%s: the certificate of %s is not looked at", what, host)
	}
}
