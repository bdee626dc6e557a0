package main

import (
	"maps"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestEntra logs in with tokens of Entra, to servers that take each for a
// password, until a newer one is in force: sessions end, and the next begins
// with a token that is valid then.
func TestEntra(t *testing.T) {
	all, tds := everyDatabase(t)
	p := servers.SharedPostgreSQL(t)
	run(t, p, "DROP ROLE IF EXISTS entra; CREATE ROLE entra LOGIN;")
	tests := map[string]struct {
		server server
		scope  string
		valid  func(token string)
	}{
		"postgresql": {all[0], "https://ossrdbms-aad.database.windows.net/.default", func(token string) {
			run(t, p, "ALTER ROLE entra PASSWORD '"+token+"'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'entra';")
		}},
		"mssql": {all[2], "https://database.windows.net/.default", tds.change},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var token atomic.Value
			token.Store("token-1")
			servers.Entra(t, trusted, func(scope string) string {
				if scope != tt.scope {
					return "for another service"
				}
				return token.Load().(string)
			})
			metadata := maps.Clone(tt.server.metadata)
			metadata["userName"], metadata["username"] = "entra", ""
			identity := scaler.PodIdentity{Provider: "azure-workload", IdentityID: servers.EntraIdentity, TenantID: servers.EntraTenant}
			scalertest.LendTo(t, "127.0.0.1")
			family := scalertest.Serve(t, triggers...).WithPodIdentity(identity)
			for _, now := range []string{"token-1", "token-2"} {
				tt.valid(now)
				token.Store(now)
				// Sessions end a little after they were told to.
				for ctx := within(t); ; {
					got, err := family.Observe(t.Context(), name, metadata)
					if err == nil && got.Value == 42 {
						break
					}
					if ctx.Err() != nil {
						t.Fatalf("with %s: %+v, %v", now, got, err)
					}
				}
			}
			identity.IdentityID = "other"
			_, err := scalertest.Serve(t, triggers...).WithPodIdentity(identity).Observe(t.Context(), name, metadata)
			if status.Code(err) != codes.Unauthenticated {
				t.Errorf("another identity: %v, want %v", err, codes.Unauthenticated)
			}
		})
	}
}
