package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

const benchTriggers = 1000

// BenchmarkPostgreSQL runs a thousand queries of one database, as the sampler
// does, and reports the connections and the queries per second.
func BenchmarkPostgreSQL(b *testing.B) {
	p := servers.SharedPostgreSQL(b)
	proxy, err := fault.Listen(p.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer proxy.Close()
	host, port := split(b, proxy.Addr())
	ctx, release := scaler.Opening(b.Context())
	defer release()
	var sources []scaler.Source
	for i := range benchTriggers {
		s, err := openPostgreSQL(ctx, postgresqlParams{
			Host: host, Port: port, UserName: servers.SQLUser, Password: servers.SQLPassword, DBName: servers.SQLDatabase,
			SSLMode: "disable", Query: fmt.Sprintf("SELECT %d", i),
		})
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, s)
	}
	scalertest.ReadAll(b, sources, "queries/s")
	b.ReportMetric(float64(proxy.Stats().Accepted), "connections")
}

// BenchmarkIdleTriggers measures what the doorbells of idle triggers, each with
// a channel of its own, cost a real server: its CPU while nothing happens, how
// many rows others insert and how many notifications others send for a second
// of its CPU, and the memory of the session that listens. One iteration is a
// time of each.
func BenchmarkIdleTriggers(b *testing.B) {
	p := servers.SharedPostgreSQL(b)
	run(b, p, "DROP TABLE IF EXISTS busy; CREATE TABLE busy (id bigserial, payload text);")
	for _, triggers := range []int{0, 1, 100, 1000, 5000} {
		b.Run(fmt.Sprint(triggers), func(b *testing.B) {
			stop := listenToAll(b, p, triggers)
			defer stop()
			load := newPressure(b, p)
			defer load.client.Close(context.WithoutCancel(b.Context()))
			load.measure(b)
		})
	}
}

// listenToAll has that many triggers listen, each to a channel of its own.
func listenToAll(b *testing.B, p *servers.PostgreSQLServer, triggers int) (stop func()) {
	b.Helper()
	return scalertest.ListenToAll(b, triggers, func(ctx context.Context, i int) (scaler.Source, error) {
		return openPostgreSQL(ctx, postgresqlParams{Connection: p.URL(), Query: fmt.Sprint("SELECT ", i), ListenChannel: fmt.Sprint("idle-", i)})
	})
}

// pressure is what others do at the server.
type pressure struct {
	client     *pgx.Conn
	postmaster int
}

func newPressure(b *testing.B, p *servers.PostgreSQLServer) *pressure {
	b.Helper()
	client, err := pgx.Connect(b.Context(), p.URL())
	if err != nil {
		b.Fatal(err)
	}
	l := &pressure{client: client}
	parent, _, _ := stat(b, int(client.PgConn().PID()))
	l.postmaster = parent
	return l
}

func (l *pressure) measure(b *testing.B) {
	const each = 2 * time.Second
	var quiet, inserting, notifying, waited time.Duration
	var inserts, notifies, most int64
	for b.Loop() {
		began, before := time.Now(), l.used(b)
		<-time.After(each)
		quiet, waited = quiet+l.used(b)-before, waited+time.Since(began)
		before = l.used(b)
		inserts += l.repeat(b, each, "INSERT INTO busy (payload) VALUES (repeat('x', 200))")
		inserting += l.used(b) - before
		before = l.used(b)
		notifies += l.repeat(b, each, "NOTIFY busy")
		notifying += l.used(b) - before
		most = max(most, l.listening(b))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(1000*quiet.Seconds()/waited.Seconds(), "millicores")
	b.ReportMetric(float64(inserts)/inserting.Seconds(), "inserts/cpu-s")
	b.ReportMetric(float64(notifies)/notifying.Seconds(), "notifies/cpu-s")
	b.ReportMetric(float64(most)/(1<<20), "MiB")
}

// repeat executes a statement for a time and returns how often.
func (l *pressure) repeat(b *testing.B, long time.Duration, statement string) (n int64) {
	b.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); n++ {
		if _, err := l.client.Exec(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// listening is the memory of the session that listens, in bytes.
func (l *pressure) listening(b *testing.B) int64 {
	b.Helper()
	var pid int
	err := l.client.QueryRow(b.Context(), "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'").Scan(&pid)
	if err != nil {
		b.Fatal(err)
	}
	if pid == 0 {
		return 0
	}
	_, _, memory := stat(b, pid)
	return memory
}

// used is the CPU time of all processes of the server, ended ones included.
func (l *pressure) used(b *testing.B) time.Duration {
	b.Helper()
	_, sum, _ := stat(b, l.postmaster)
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range all {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if parent, cpu, _ := stat(b, pid); parent == l.postmaster {
			sum += cpu
		}
	}
	return sum
}

// stat reads what Linux says of a process: its parent, the CPU time of it and
// of its children that have ended, and its own memory in bytes. One that has
// ended has nothing.
//
// Source: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func stat(b *testing.B, pid int) (parent int, cpu time.Duration, memory int64) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	number := func(at int) int64 {
		n, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	const ticks = 100 // a second, which Linux shows on every architecture
	cpu = time.Duration(number(11)+number(12)+number(13)+number(14)) * time.Second / ticks
	return int(number(1)), cpu, number(21) * int64(os.Getpagesize())
}

// BenchmarkSharedChannel has ten idle triggers listen to one channel, which
// others ring ten times a second. It reports how long it takes from a
// notification of work to the observation of the trigger that the work is for.
func BenchmarkSharedChannel(b *testing.B) {
	const listeners = 10
	p := servers.SharedPostgreSQL(b)
	run(b, p, "DROP TABLE IF EXISTS shared; CREATE TABLE shared (id int);")
	family := scalertest.Serve(b, triggers...).WithAuth(map[string]string{"connection": p.URL()})
	client, err := pgx.Connect(b.Context(), p.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close(context.WithoutCancel(b.Context()))
	var all []*scalertest.Watching
	for i := range listeners {
		w := family.Watch(b, "postgresql", map[string]string{"targetQueryValue": "1", "listenChannel": "shared",
			"query": fmt.Sprint("SELECT count(*) FROM shared WHERE id = ", i)}, scalerv1.Mode_MODE_IDLE, 30*time.Second)
		if _, err := w.Until(within(b), "inactive", scalertest.Inactive); err != nil {
			b.Fatal(err)
		}
		all = append(all, w)
	}
	execute := func(statements string) {
		if _, err := client.PgConn().Exec(b.Context(), statements).ReadAll(); err != nil {
			b.Fatal(err)
		}
	}
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		for range 10 + rand.IntN(40) {
			execute("NOTIFY shared")
			<-time.After(100 * time.Millisecond)
		}
		execute(fmt.Sprint("INSERT INTO shared VALUES (", n%listeners, "); NOTIFY shared;"))
		began := time.Now()
		if _, err := all[n%listeners].Until(within(b), "active", scalertest.Active); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		execute("DELETE FROM shared; NOTIFY shared;")
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-median")
	b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "ms-longest")
}
