package main

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	goleak.VerifyTestMain(scalertest.Beside(servers.Ending(m)),
		// The library looks whether a server is back once a second, and so ends
		// up to a second after its client was closed.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// patience is many times what anything here takes.
const patience = time.Minute

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// operator is a client that fills keys.
func operator(t testing.TB, options *redis.UniversalOptions) redis.UniversalClient {
	t.Helper()
	client := redis.NewUniversalClient(options)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// do runs a command that has to succeed.
func do(t testing.TB, client redis.UniversalClient, command ...any) {
	t.Helper()
	if err := client.Do(within(t), command...).Err(); err != nil {
		t.Fatalf("%v: %v", command, err)
	}
}

// fresh makes keys absent: the server outlives the test.
func fresh(t testing.TB, client redis.UniversalClient, keys ...string) {
	t.Helper()
	for _, key := range keys {
		do(t, client, "DEL", key)
	}
}

// push appends n elements to a list.
func push(t testing.TB, client redis.UniversalClient, key string, n int) {
	t.Helper()
	for i := range n {
		do(t, client, "RPUSH", key, i)
	}
}
