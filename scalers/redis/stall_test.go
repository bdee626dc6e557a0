package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// keyed is a trigger for a key and the server that has it.
type keyed struct {
	subject
	address string
}

// spread are triggers of every kind for each server of a cluster, among them
// some that need a second step.
func spread(t *testing.T, addresses []string) (k kind, all []keyed) {
	t.Helper()
	metadata := map[string]string{"addresses": list(addresses)}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses})
	t.Cleanup(func() { client.Close() })
	k = kind{list: "redis-cluster", stream: "redis-cluster-streams", metadata: metadata, operator: client}
	for i := range 4 * len(addresses) {
		key := fmt.Sprintf("{%d}spread", i)
		master, err := client.MasterForKey(within(t), key)
		if err != nil {
			t.Fatal(err)
		}
		subjects := k.subjects(t, key)
		for _, more := range []map[string]string{{}, {"lagCount": "1"}} {
			without := map[string]string{"stream": key + "-events", "consumerGroup": "nobody"}
			maps.Copy(without, metadata)
			maps.Copy(without, more)
			subjects = append(subjects, subject{name: "without the group", triggerType: k.stream, metadata: without, value: 3})
		}
		for _, s := range subjects {
			all = append(all, keyed{s, master.Options().Addr})
		}
	}
	return k, all
}

// TestOneServerOfAClusterStalls stops one of three: it accepts and does not
// answer. Its keys fail, and they alone.
func TestOneServerOfAClusterStalls(t *testing.T) {
	cluster := servers.Cluster(t, servers.RedisOptions{Config: "cluster-require-full-coverage no"})
	_, triggers := spread(t, cluster.Addrs())
	opening, release := scaler.Opening(t.Context())
	defer release()
	sources := make([]scaler.Source, len(triggers))
	for i, s := range triggers {
		sources[i] = s.open(opening, t, nil)
	}
	together := sources[0].(scaler.Batched).Batch()
	check := func(t *testing.T, stalled string, results []scaler.Result) {
		t.Helper()
		for i, result := range results {
			s := triggers[i]
			code, text := status.Code(result.Err), fmt.Sprint(result.Err)
			switch {
			case s.address == stalled && (code != codes.DeadlineExceeded || !strings.Contains(text, stalled)):
				t.Errorf("%s of the stalled server: %v, %v, want %v of %s", s.name, result.Readings, result.Err, codes.DeadlineExceeded, stalled)
			case s.address != stalled && (code != codes.OK || result.Readings[0].Value != s.value):
				t.Errorf("%s of another server: %v, %v, want %v", s.name, result.Readings, result.Err, s.value)
			}
		}
	}
	check(t, "", scaler.ReadTogether(within(t), together, sources...))
	if err := cluster.Nodes[0].Stop(); err != nil {
		t.Fatal(err)
	}
	t.Run("beside a stalled server", func(t *testing.T) {
		for _, deadline := range []time.Duration{3 * time.Second, 5 * time.Second, 10 * time.Second} {
			t.Run(deadline.String(), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), deadline/2) // as the sampler gives
				defer cancel()
				check(t, cluster.Addrs()[0], scaler.ReadTogether(ctx, together, sources...))
			})
		}
	})
	if err := cluster.Nodes[0].Continue(); err != nil {
		t.Fatal(err)
	}
}

// TestStartBesideAStalledServer has a family that learns of its cluster while
// one of the servers stalls.
func TestStartBesideAStalledServer(t *testing.T) {
	cluster := servers.Cluster(t, servers.RedisOptions{Config: "cluster-require-full-coverage no"})
	_, subjects := spread(t, cluster.Addrs())
	if err := cluster.Nodes[0].Stop(); err != nil {
		t.Fatal(err)
	}
	healthy := slices.DeleteFunc(subjects, func(s keyed) bool { return s.address == cluster.Addrs()[0] })
	family := scalertest.Serve(t, triggers...)
	ctx := within(t)
	for _, s := range healthy[:len(healthy)/4] {
		got, err := family.Observe(ctx, s.triggerType, s.metadata)
		for status.Code(err) == codes.DeadlineExceeded && ctx.Err() == nil {
			got, err = family.Observe(ctx, s.triggerType, s.metadata)
		}
		if err != nil || got.Value != s.value {
			t.Errorf("%s: %+v, %v, want %v", s.name, got, err, s.value)
		}
	}
}

// TestKeyMovesToAServerThatStalls: the server that had it answers for its other
// keys, and says in the same breath where this one is.
func TestKeyMovesToAServerThatStalls(t *testing.T) {
	cluster := servers.Cluster(t, servers.RedisOptions{Config: "cluster-require-full-coverage no"})
	k, triggers := spread(t, cluster.Addrs())
	from, to := cluster.Addrs()[0], cluster.Addrs()[1]
	triggers = slices.DeleteFunc(triggers, func(s keyed) bool { return s.address != from })
	moving := subject{triggerType: k.list, metadata: maps.Clone(k.metadata)}
	moving.metadata["listName"] = keyOn(t, cluster.Addrs(), from)
	opening, release := scaler.Opening(t.Context())
	defer release()
	sources := []scaler.Source{moving.open(opening, t, nil)}
	for _, s := range triggers {
		sources = append(sources, s.open(opening, t, nil))
	}
	together := sources[0].(scaler.Batched).Batch()
	read := func(limit time.Duration) (moved scaler.Result) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		results := scaler.ReadTogether(ctx, together, sources...)
		for i, result := range results[1:] {
			if result.Err != nil || result.Readings[0].Value != triggers[i].value {
				t.Errorf("%s: %v, %v, want %v", triggers[i].name, result.Readings, result.Err, triggers[i].value)
			}
		}
		return results[0]
	}
	if r := read(patience); r.Err != nil {
		t.Fatal(r.Err)
	}
	move(t, k.operator, moving.metadata["listName"], from, to)
	if err := cluster.Nodes[1].Stop(); err != nil {
		t.Fatal(err)
	}
	r := read(5 * time.Second)
	if code := status.Code(r.Err); code != codes.DeadlineExceeded && code != codes.Unavailable || !strings.Contains(r.Err.Error(), "server "+to) {
		t.Errorf("the key that moved: %v, %v, want no answer of server %s", r.Readings, r.Err, to)
	}
}

// move gives the slot of a key that is missing to another server.
func move(t *testing.T, operator redis.UniversalClient, key, from, to string) {
	t.Helper()
	client := func(address string) *redis.Client {
		c := redis.NewClient(&redis.Options{Addr: address})
		t.Cleanup(func() { c.Close() })
		return c
	}
	slot, err := operator.ClusterKeySlot(within(t), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	id, err := client(to).Do(within(t), "CLUSTER", "MYID").Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{to, from} {
		do(t, client(address), "CLUSTER", "SETSLOT", slot, "NODE", id)
	}
}
