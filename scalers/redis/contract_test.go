package main

import (
	"fmt"
	"maps"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("redis", onServer(map[string]string{"listName": "contract"}))
var _ = cases.Add("redis-streams", onServer(map[string]string{"stream": "contract-stream"}))
var _ = cases.Add("redis-sentinel", onSentinel(map[string]string{"listName": "contract"}))
var _ = cases.Add("redis-sentinel-streams", onSentinel(map[string]string{"stream": "contract-stream"}))
var _ = cases.Add("redis-cluster", onCluster(map[string]string{"listName": "contract"}))
var _ = cases.Add("redis-cluster-streams", onCluster(map[string]string{"stream": "contract-stream"}))

// onServer is the case of a type that asks one server for what metadata names.
func onServer(metadata map[string]string) func(testing.TB) scalertest.Case {
	return func(t testing.TB) scalertest.Case {
		return scalertest.Case{Address: servers.SharedRedis(t).Addr(), At: at(metadata), OnePart: "all keys are on one server"}
	}
}

func onSentinel(metadata map[string]string) func(testing.TB) scalertest.Case {
	return func(t testing.TB) scalertest.Case {
		there := at(metadata, map[string]string{"sentinelMaster": servers.RedisMaster})
		return scalertest.Case{Address: list(servers.SharedSentinel(t).Addrs()), At: there, OnePart: "all keys are on one server"}
	}
}

func onCluster(metadata map[string]string) func(testing.TB) scalertest.Case {
	return func(t testing.TB) scalertest.Case {
		return scalertest.Case{
			Address: list(servers.SharedCluster(t).Addrs()), At: at(metadata),
			Parts: func(t testing.TB) (healthy, stalled map[string]string, stall func()) {
				return serversOfACluster(t, metadata)
			},
		}
	}
}

// at is the metadata of a trigger with all of these, whose server is somewhere.
func at(metadata ...map[string]string) func(address string) map[string]string {
	return func(address string) map[string]string {
		all := map[string]string{"address": address}
		for _, m := range metadata {
			maps.Copy(all, m)
		}
		return all
	}
}

// serversOfACluster gives a trigger a key on each of two servers.
func serversOfACluster(t testing.TB, metadata map[string]string) (first, second map[string]string, stall func()) {
	t.Helper()
	cluster := servers.Cluster(t, servers.RedisOptions{Config: "cluster-require-full-coverage no"})
	on := func(address string) map[string]string {
		there := maps.Clone(metadata)
		there["addresses"] = list(cluster.Addrs())
		for _, name := range []string{"listName", "stream"} {
			if _, has := there[name]; has {
				there[name] = keyOn(t, cluster.Addrs(), address)
			}
		}
		return there
	}
	stall = func() {
		if err := cluster.Nodes[1].Stop(); err != nil {
			t.Fatal(err)
		}
	}
	return on(cluster.Addrs()[0]), on(cluster.Addrs()[1]), stall
}

// keyOn is a key that a server of a cluster has.
func keyOn(t testing.TB, cluster []string, address string) string {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster})
	defer client.Close()
	for i := 0; ; i++ {
		key := fmt.Sprint("key-", i)
		master, err := client.MasterForKey(within(t), key)
		if err != nil {
			t.Fatal(err)
		}
		if master.Options().Addr == address {
			return key
		}
	}
}

// TestFailover reads from the new master after the old one died.
func TestFailover(t *testing.T) {
	s := servers.Sentinel(t)
	metadata := map[string]string{"addresses": list(s.Addrs()), "sentinelMaster": servers.RedisMaster, "listName": "jobs"}
	client := operator(t, &redis.UniversalOptions{Addrs: s.Addrs(), MasterName: servers.RedisMaster})
	push(t, client, "jobs", 3)
	// What a master has not sent to its replica is gone with it.
	do(t, client, "WAIT", 1, patience.Milliseconds())
	family := scalertest.Serve(t, triggers...)
	observe := func() (scalertest.Observation, error) {
		return family.Observe(within(t), "redis-sentinel", metadata)
	}
	want := scalertest.Observation{Value: 3, Active: true}
	if got, err := observe(); err != nil || got != want {
		t.Fatalf("before: %+v, %v", got, err)
	}
	if err := s.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	for ctx := within(t); ; {
		got, err := observe()
		if err == nil && got != want {
			t.Fatalf("after: %+v: an absent master is no empty list", got)
		}
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}
