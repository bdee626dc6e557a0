package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

const (
	// learning is how long objects stand at one replica before anything rises:
	// some periods of the HPA controller.
	learning = time.Minute
	// spread is the time over which work arrives.
	spread = 30 * time.Second
	// promised is how old a value is at most when the HPA asks for it.
	promised = 1500 * time.Millisecond
)

// riseFigures are about objects at one replica that get work for ten, without
// doorbells, with the HPA's default flags and policies.
type riseFigures struct {
	Objects int `json:"objects"`
	// Risen is from the push until spec.replicas is 10.
	Risen quantiles `json:"risen"`
	// Age is how long before an answer to the HPA controller the source was
	// read, and Fresh the share of those within what is promised.
	Age   quantiles `json:"age"`
	Fresh float64   `json:"fresh"`
	Asked int       `json:"asked"`
	// Period is the time between two questions about one object.
	Period quantiles `json:"period"`
	// ReadsPerMinute are those of one object's list, Requests those of all
	// objects: those of a batch come together.
	ReadsPerMinute    float64 `json:"readsPerMinute"`
	RequestsPerMinute float64 `json:"requestsPerMinute"`
}

func (f riseFigures) print(line func(string, ...any)) {
	line("\n%d objects with a redis list, doorbells off, from 1 replica to %d\t%s", f.Objects, full, f.Risen)
	line("  age of the value when the HPA asks\t%s\t%.1f %% of %d within %s", f.Age, 100*f.Fresh, f.Asked, promised)
	line("  time between two questions about an object\t%s", f.Period)
	line("  reads per object %.1f a minute, in %.0f requests for all", f.ReadsPerMinute, f.RequestsPerMinute)
}

// measureRise takes these figures on a cluster of their own.
func measureRise(ctx context.Context, o options) (f riseFigures, err error) {
	o.Objects = o.Rise
	b := &bench{options: o}
	b.say("starting a control plane and the redis family")
	b.cluster, err = localcluster.Start(ctx, localcluster.Options{BinDir: o.binaries, ControllerQPS: o.QPS, GCPercent: gcPercent})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, b.cluster.Stop()) }()
	if err := b.installRedis(ctx); err != nil {
		return f, err
	}
	server, err := servers.StartRedis(ctx, servers.RedisOptions{Address: b.cluster.Address()})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if b.fleet, err = newFleet(ctx, b.cluster, nil, o); err != nil {
		return f, err
	}
	defer b.fleet.close()
	return b.rise(ctx, server)
}

func (b *bench) installRedis(ctx context.Context) error {
	var objects []*unstructured.Unstructured
	for _, dir := range []string{"deploy/core", "deploy/scalers/redis"} {
		rendered, err := b.cluster.Render(ctx, dir)
		if err != nil {
			return err
		}
		objects = append(objects, rendered...)
	}
	return b.cluster.Install(ctx, localcluster.Installation{Objects: objects})
}

func (b *bench) rise(ctx context.Context, server *servers.RedisServer) (f riseFigures, err error) {
	f.Objects = b.Objects
	b.say("%d objects at one replica", b.Objects)
	if err := b.fleet.createDeployments(ctx, 1); err != nil {
		return f, err
	}
	if err := b.fleet.createLists(ctx, server.Addr()); err != nil {
		return f, err
	}
	one := func(s seen) bool { return s.ready && hasPods(1)(s) }
	if err := b.fleet.wait(ctx, "Ready", b.fleet.all(), one); err != nil {
		return f, err
	}
	if err := pause(ctx, learning); err != nil {
		return f, err
	}
	seen, err := monitor(ctx, server.Addr())
	if err != nil {
		return f, err
	}
	began := time.Now()
	b.say("%d items for each, within %s", full*perReplica, spread)
	pushed, err := b.push(ctx, server)
	if err == nil {
		err = b.fleet.wait(ctx, "replicas", b.fleet.all(), hasReplicas(full))
	}
	took := time.Since(began)
	reads, requests := seen.end()
	if err != nil {
		return f, err
	}
	var risen []time.Duration
	for i, at := range pushed {
		history := b.fleet.of(objectName(i)).history
		last := slices.IndexFunc(history, func(s step) bool { return s.to >= full })
		risen = append(risen, history[last].at.Sub(at))
	}
	f.Risen = quantilesOf(risen)
	asked, err := b.asked(began)
	ages, periods := agesOf(asked, reads)
	f.Asked, f.Fresh = len(ages), share(ages, promised)
	f.Age, f.Period = quantilesOf(ages), quantilesOf(periods)
	all := 0
	for _, times := range reads {
		all += len(times)
	}
	f.ReadsPerMinute = float64(all) / float64(b.Objects) / took.Minutes()
	f.RequestsPerMinute = float64(requests) / took.Minutes()
	return f, err
}

func hasReplicas(n int32) func(seen) bool { return func(s seen) bool { return s.replicas >= n } }

func share(all []time.Duration, within time.Duration) float64 {
	n := 0
	for _, d := range all {
		if d <= within {
			n++
		}
	}
	return float64(n) / float64(max(len(all), 1))
}

// push gives each object its work at a moment of its own and returns when that
// was.
func (b *bench) push(ctx context.Context, server *servers.RedisServer) ([]time.Time, error) {
	pushed, errs := make([]time.Time, b.Objects), make([]error, b.Objects)
	var all sync.WaitGroup
	for i := range pushed {
		all.Go(func() {
			if errs[i] = pause(ctx, rand.N(spread)); errs[i] != nil {
				return
			}
			command := []string{"RPUSH", listName(i)}
			for item := range full * perReplica {
				command = append(command, strconv.Itoa(item))
			}
			_, errs[i] = server.Do(ctx, command...)
			pushed[i] = time.Now()
		})
	}
	all.Wait()
	return pushed, errors.Join(errs...)
}

func listName(i int) string { return "list-" + strconv.Itoa(i) }

// createLists makes a ScaledObject with a redis list for each Deployment.
func (f *fleet) createLists(ctx context.Context, address string) error {
	return parallel(ctx, f.Objects, func(ctx context.Context, i int) error {
		so := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
			"metadata": map[string]any{"name": objectName(i), "annotations": map[string]any{"sluice.dev/doorbell": "off"}},
			"spec": map[string]any{
				"scaleTargetRef":  map[string]any{"name": objectName(i)},
				"minReplicaCount": int64(1),
				"triggers": []any{map[string]any{"type": "redis", "metadata": map[string]any{
					"address": address, "listName": listName(i), "listLength": strconv.Itoa(perReplica),
				}}},
			},
		}}
		_, err := f.dynamic.Resource(scaledObjects).Namespace(namespace).Create(ctx, so, metav1.CreateOptions{})
		return err
	})
}

// asked are the answers that the HPA controller was given since a time, as the
// API server says, by object.
func (b *bench) asked(since time.Time) (map[string][]time.Time, error) {
	const name = "scaledobject.keda.sh/name=worker-"
	answers, err := b.cluster.AuditAbout("external.metrics.k8s.io", func(r *localcluster.Request) bool {
		return r.Object.Namespace == namespace && r.Received.After(since) && r.Response.Code == 200
	})
	if err != nil {
		return nil, err
	}
	all := map[string][]time.Time{}
	for _, r := range answers {
		uri, err := url.ParseRequestURI(r.URI)
		if err != nil {
			return nil, err
		}
		object := strings.TrimPrefix(uri.Query().Get("labelSelector"), name)
		all[object] = append(all[object], r.Answered)
	}
	return all, nil
}

// agesOf are how long before each answer its source was read, which redis says,
// and the time between answers about one object.
func agesOf(asked, reads map[string][]time.Time) (ages, periods []time.Duration) {
	for object, answers := range asked {
		for i, answered := range answers {
			earlier := slices.DeleteFunc(slices.Clone(reads["list-"+object]), answered.Before)
			if len(earlier) > 0 {
				ages = append(ages, answered.Sub(earlier[len(earlier)-1]))
			}
			if i > 0 {
				periods = append(periods, answered.Sub(answers[i-1]))
			}
		}
	}
	return ages, periods
}

// monitoring is what redis says of the commands that it is given.
type monitoring struct {
	conn     net.Conn
	done     chan struct{}
	reads    map[string][]time.Time // by list
	requests int
}

// monitor notes each read of a list until it is ended.
func monitor(ctx context.Context, address string) (*monitoring, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprint(conn, "MONITOR\r\n"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	m := &monitoring{conn: conn, done: make(chan struct{}), reads: map[string][]time.Time{}}
	go m.listen()
	return m, nil
}

// listen takes lines such as
//
//	+1700000000.123456 [0 198.18.0.3:4242] "evalsha" "<hash>" "1" "list-7"
//
// Those of one batch come one right after the other.
func (m *monitoring) listen() {
	defer close(m.done)
	last := time.Time{}
	for lines := bufio.NewScanner(m.conn); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(strings.ToLower(fields[3]), `"eval`) {
			continue
		}
		seconds, err := strconv.ParseFloat(strings.TrimPrefix(fields[0], "+"), 64)
		list := strings.Trim(fields[len(fields)-1], `"`)
		if err != nil || !strings.HasPrefix(list, "list-") {
			continue
		}
		at := time.UnixMicro(int64(seconds * 1e6))
		if at.Sub(last) > 5*time.Millisecond {
			m.requests++
		}
		last = at
		m.reads[list] = append(m.reads[list], at)
	}
}

// end stops and returns when each list was read, and in how many requests.
func (m *monitoring) end() (reads map[string][]time.Time, requests int) {
	m.conn.Close()
	<-m.done
	return m.reads, m.requests
}
