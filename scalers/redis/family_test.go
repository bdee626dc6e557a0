package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// kind is a way to run Redis, with the trigger types for it.
type kind struct {
	list, stream string
	metadata     map[string]string
	operator     redis.UniversalClient
}

// kinds starts every kind of real Redis.
func kinds(t *testing.T) map[string]kind {
	t.Helper()
	return kindsOf(t, servers.SharedRedis(t), servers.SharedSentinel(t), servers.SharedCluster(t))
}

func kindsOf(t *testing.T, one *servers.RedisServer, sentinels *servers.RedisSentinel, cluster *servers.RedisCluster) map[string]kind {
	t.Helper()
	return map[string]kind{
		"server": {
			list: "redis", stream: "redis-streams",
			metadata: map[string]string{"address": one.Addr()},
			operator: operator(t, &redis.UniversalOptions{Addrs: []string{one.Addr()}}),
		},
		"sentinel": {
			list: "redis-sentinel", stream: "redis-sentinel-streams",
			metadata: map[string]string{"addresses": list(sentinels.Addrs()), "sentinelMaster": servers.RedisMaster},
			operator: operator(t, &redis.UniversalOptions{Addrs: sentinels.Addrs(), MasterName: servers.RedisMaster}),
		},
		"cluster": {
			list: "redis-cluster", stream: "redis-cluster-streams",
			metadata: map[string]string{"addresses": list(cluster.Addrs()), "databaseIndex": "3"},
			operator: operator(t, &redis.UniversalOptions{Addrs: cluster.Addrs()}),
		},
	}
}

// TestFamily goes from metadata to observations, over real gRPC, for each way
// to run Redis.
func TestFamily(t *testing.T) {
	family := scalertest.Serve(t, triggers...)
	for name, k := range kinds(t) {
		fresh(t, k.operator, "jobs", "events", "holes", "many")
		push(t, k.operator, "jobs", 7)
		do(t, k.operator, "SADD", "set", "a", "b")
		do(t, k.operator, "ZADD", "sorted", 1, "a", 2, "b", 3, "c")
		do(t, k.operator, "HSET", "hash", "a", 1, "b", 2, "c", 3, "d", 4)
		do(t, k.operator, "SET", "text", "a")
		stream(t, k.operator)
		lists := map[string]struct {
			metadata map[string]string
			want     scalertest.Observation
			code     codes.Code
			message  string
		}{
			"a list":                {metadata: map[string]string{"listName": "jobs"}, want: scalertest.Observation{Value: 7, Active: true}},
			"a set":                 {metadata: map[string]string{"listName": "set"}, want: scalertest.Observation{Value: 2, Active: true}},
			"a sorted set":          {metadata: map[string]string{"listName": "sorted"}, want: scalertest.Observation{Value: 3, Active: true}},
			"a hash":                {metadata: map[string]string{"listName": "hash"}, want: scalertest.Observation{Value: 4, Active: true}},
			"a missing key is 0":    {metadata: map[string]string{"listName": "nothing"}},
			"at the activation":     {metadata: map[string]string{"listName": "jobs", "activationListLength": "7"}, want: scalertest.Observation{Value: 7}},
			"a key of another kind": {metadata: map[string]string{"listName": "text"}, code: codes.FailedPrecondition, message: k.list + ": key text: is a string, not a list, set, sorted set or hash"},
		}
		for what, tt := range lists {
			t.Run(name+"/"+what, func(t *testing.T) {
				metadata := maps.Clone(k.metadata)
				maps.Copy(metadata, tt.metadata)
				got, err := family.Observe(t.Context(), k.list, metadata)
				if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
					t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
				}
				if got != tt.want {
					t.Errorf("observation = %+v, want %+v", got, tt.want)
				}
			})
		}
		streams := map[string]struct {
			metadata map[string]string
			want     float64
		}{
			"length":                             {map[string]string{"stream": "events"}, 6},
			"length of a missing stream":         {map[string]string{"stream": "nothing"}, 0},
			"pending":                            {map[string]string{"stream": "events", "consumerGroup": "workers"}, 2},
			"pending of a missing stream":        {map[string]string{"stream": "nothing", "consumerGroup": "workers"}, 0},
			"pending of a missing group":         {map[string]string{"stream": "events", "consumerGroup": "nobody"}, 6},
			"lag":                                {map[string]string{"stream": "events", "consumerGroup": "workers", "lagCount": "5"}, 4},
			"lag of a missing stream":            {map[string]string{"stream": "nothing", "consumerGroup": "workers", "lagCount": "5"}, 0},
			"lag of a missing group":             {map[string]string{"stream": "events", "consumerGroup": "nobody", "lagCount": "5"}, 6},
			"lag that the server cannot tell":    {map[string]string{"stream": "holes", "consumerGroup": "workers", "lagCount": "5"}, 3},
			"lag too large to count is a length": {map[string]string{"stream": "many", "consumerGroup": "workers", "lagCount": "5"}, 149},
		}
		for what, tt := range streams {
			t.Run(name+"/"+what, func(t *testing.T) {
				metadata := maps.Clone(k.metadata)
				maps.Copy(metadata, tt.metadata)
				got, err := family.Observe(t.Context(), k.stream, metadata)
				if want := (scalertest.Observation{Value: tt.want, Active: tt.want > 0}); err != nil || got != want {
					t.Errorf("observation = %+v, %v, want %+v", got, err, want)
				}
			})
		}
	}
}

// stream fills the streams of TestFamily: events has 6 entries of which the
// group got 2, holes one whose lag the server cannot tell, many a large one.
func stream(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	for range 6 {
		do(t, client, "XADD", "events", "*", "k", "v")
	}
	do(t, client, "XGROUP", "CREATE", "events", "workers", "0")
	do(t, client, "XREADGROUP", "GROUP", "workers", "one", "COUNT", 2, "STREAMS", "events", ">")
	for i := range 5 {
		do(t, client, "XADD", "holes", i+1, "k", "v")
	}
	do(t, client, "XGROUP", "CREATE", "holes", "workers", "1-0")
	do(t, client, "XDEL", "holes", "3-0")
	for i := range 150 {
		do(t, client, "XADD", "many", i+1, "k", "v")
	}
	do(t, client, "XGROUP", "CREATE", "many", "workers", "1-0")
	do(t, client, "XDEL", "many", "3-0")
}

// TestCountingFetchesNoEntries: of entries that have to be counted, the server
// sends their number; a user who may run no scripts gets them.
func TestCountingFetchesNoEntries(t *testing.T) {
	const body = 64 << 10
	r := servers.Redis(t, servers.RedisOptions{Config: "user reader on >reading ~* +@read +@connection"})
	client := operator(t, &redis.UniversalOptions{Addrs: []string{r.Addr()}})
	for i := range 5 {
		do(t, client, "XADD", "holes", i+1, "k", strings.Repeat("x", body))
	}
	do(t, client, "XGROUP", "CREATE", "holes", "workers", "1-0")
	do(t, client, "XDEL", "holes", "3-0")
	proxy, err := fault.Listen(r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	for user, fetches := range map[string]bool{"": false, "reader": true} {
		before := proxy.Stats().ToClient
		family := scalertest.Serve(t, triggers...)
		if user != "" {
			family = family.WithAuth(map[string]string{"username": user, "password": "reading"})
		}
		got, err := family.Observe(within(t), "redis-streams", map[string]string{
			"address": proxy.Addr(), "stream": "holes", "consumerGroup": "workers", "lagCount": "5"})
		if err != nil || got.Value != 3 {
			t.Errorf("user %q: %+v, %v, want 3", user, got, err)
		}
		if n := proxy.Stats().ToClient - before; (n > body) != fetches {
			t.Errorf("user %q: %d bytes to count 3 entries of %d", user, n, body)
		}
	}
}

func TestDatabaseIndex(t *testing.T) {
	r := servers.SharedRedis(t)
	client := operator(t, &redis.UniversalOptions{Addrs: []string{r.Addr()}, DB: 4})
	fresh(t, client, "fourth")
	push(t, client, "fourth", 3)
	family := scalertest.Serve(t, triggers...)
	for database, want := range map[string]float64{"4": 3, "5": 0} {
		got, err := family.Observe(t.Context(), "redis", map[string]string{
			"address": r.Addr(), "listName": "fourth", "databaseIndex": database})
		if err != nil || got.Value != want {
			t.Errorf("database %s: %+v, %v, want %v", database, got, err, want)
		}
	}
}

func list(addresses []string) string {
	text := ""
	for _, a := range addresses {
		text += a + ","
	}
	return text[:len(text)-1]
}
