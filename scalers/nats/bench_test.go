package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// benchTriggers are each of a consumer of its own.
const benchTriggers = 1000

// BenchmarkConsumers reads a thousand consumers of one endpoint, on a hundred
// streams, and reports connections and requests, and the CPU of the server for
// one reading of all.
func BenchmarkConsumers(b *testing.B) {
	s := process(b)
	o := operate(b, "nats://"+s.clients)
	proxy, err := fault.Listen(s.monitoring)
	if err != nil {
		b.Fatal(err)
	}
	defer proxy.Close()
	var sources []scaler.Source
	ctx, release := scaler.Opening(b.Context())
	defer release()
	for i := range benchTriggers / 10 {
		stream, consumers := fmt.Sprintf("orders-%d", i), names("workers", 10)
		o.stream(jetstream.StreamConfig{Name: stream, Subjects: []string{stream}}, consumers...)
		for _, consumer := range consumers {
			source, err := openJetStream(ctx, jetStreamParams{monitoringParams: monitoringParams{Endpoint: proxy.Addr(), Account: "$G"}, Stream: stream, Consumer: consumer})
			if err != nil {
				b.Fatal(err)
			}
			sources = append(sources, source)
		}
	}
	before, asked := s.used(b), s.listings(b)
	scalertest.ReadAll(b, sources, "consumers/s")
	b.ReportMetric(float64(proxy.Stats().Accepted), "connections")
	b.ReportMetric(float64(s.listings(b)-asked)/float64(b.N), "requests/op")
	b.ReportMetric(1000*(s.used(b)-before).Seconds()/float64(b.N), "server-ms/op")
}

// BenchmarkIdleTriggers measures what idle triggers that listen, each to a
// stream of its own, cost a real server: its CPU while nothing happens, what is
// left of the messages that others have stored for a second of it, in another
// stream and in the triggers' own, and its memory, all beside the same server with
// the same streams before anybody listens.
func BenchmarkIdleTriggers(b *testing.B) {
	for _, triggers := range []int{0, 1, 100, 1000, 5000} {
		b.Run(fmt.Sprint(triggers), func(b *testing.B) {
			s := process(b)
			o := operate(b, "nats://"+s.clients)
			streams := names("idle", max(triggers, 1))
			for _, name := range append([]string{"busy"}, streams...) {
				o.stream(jetstream.StreamConfig{Name: name, Subjects: []string{name}, MaxMsgs: 1000, Storage: jetstream.MemoryStorage}, "workers")
			}
			alone := s.measure(b, o, streams)
			at := s.resident(b)
			defer s.listenToAll(b, streams[:triggers])()
			memory := s.resident(b) - at
			var heard pressure
			for b.Loop() {
				heard = s.measure(b, o, streams)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(heard.quiet-alone.quiet, "millicores")
			b.ReportMetric(heard.others/alone.others, "others")
			b.ReportMetric(heard.own/alone.own, "own")
			b.ReportMetric(alone.own, "own-alone/cpu-s")
			b.ReportMetric(float64(memory)/(1<<10), "KiB")
		})
	}
}

// pressure is what a server bears: millicores while nothing happens, and the
// messages that it stores for a second of its CPU, in a stream that nobody
// listens to and in those of the triggers.
type pressure struct{ quiet, others, own float64 }

func (s *apart) measure(b *testing.B, o operator, streams []string) pressure {
	b.Helper()
	const each = 2 * time.Second
	began, before := time.Now(), s.used(b)
	<-time.After(each)
	quiet := 1000 * (s.used(b) - before).Seconds() / time.Since(began).Seconds()
	stored := func(streams []string) float64 {
		before := s.used(b)
		n := o.repeat(each, streams)
		return float64(n) / (s.used(b) - before).Seconds()
	}
	return pressure{quiet, stored([]string{"busy"}), stored(streams)}
}

// listenToAll reads consumers together, as the sampler does, and has each
// listened to. It returns once all would ring.
func (s *apart) listenToAll(b *testing.B, streams []string) (stop func()) {
	b.Helper()
	opening, release := scaler.Opening(b.Context())
	var sources []scaler.Source
	for _, stream := range streams {
		source, err := openJetStream(opening, jetStreamParams{
			monitoringParams: monitoringParams{Endpoint: s.monitoring, Account: "$G"}, clientParams: clientParams{ClientEndpoint: s.clients},
			Stream: stream, Consumer: "workers",
		})
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, source)
	}
	ctx, cancel := context.WithCancel(opening)
	var all sync.WaitGroup
	ready := make(chan struct{}, len(sources))
	if len(sources) > 0 {
		batch(ctx, sources)
	}
	for _, source := range sources {
		all.Go(func() {
			if err := source.(scaler.Ringer).Listen(ctx, func() { ready <- struct{}{} }, func() {}); ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	for range sources {
		await(b, "all who listen", ready)
	}
	return func() {
		cancel()
		all.Wait()
		release()
	}
}

// repeat publishes to subjects in turn for a time, and returns how often.
func (o operator) repeat(long time.Duration, subjects []string) (n int) {
	o.t.Helper()
	payload := bytes.Repeat([]byte("x"), 200)
	for end := time.Now().Add(long); time.Now().Before(end); n++ {
		if _, err := o.js.PublishAsync(subjects[n%len(subjects)], payload); err != nil {
			o.t.Fatal(err)
		}
		if n%200 == 199 {
			<-o.js.PublishAsyncComplete()
		}
	}
	<-o.js.PublishAsyncComplete()
	return n
}

// serving is the variable of a process that is a server, with its folder.
const serving = "NATS_TEST_SERVER"

// serve runs a server, says where, and ends with its standard input.
func serve() {
	s, err := natsd.NewServer(&natsd.Options{
		ServerName: "alone", Host: "127.0.0.1", Port: natsd.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: -1,
		JetStream: true, StoreDir: os.Getenv(serving), NoSigs: true, NoLog: true,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		os.Exit(1)
	}
	fmt.Println(s.MonitorAddr(), s.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	end(s)
}

// apart is a server in a process of its own, so that what it takes can be told.
type apart struct {
	pid                 int
	monitoring, clients string
}

func process(b *testing.B) *apart {
	b.Helper()
	command := exec.CommandContext(b.Context(), os.Args[0])
	command.Env = append(os.Environ(), serving+"="+b.TempDir())
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = command.Wait() // its context may have ended it
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	s := &apart{pid: command.Process.Pid}
	s.monitoring, s.clients, _ = strings.Cut(strings.TrimSpace(line), " ")
	return s
}

// listings is how often the server was asked for one.
func (s *apart) listings(b *testing.B) int {
	b.Helper()
	ctx, release := scaler.Opening(b.Context())
	defer release()
	base, err := monitoringParams{Endpoint: s.monitoring}.base()
	if err != nil {
		b.Fatal(err)
	}
	m, err := shareMonitoring(ctx, base)
	if err != nil {
		b.Fatal(err)
	}
	count := 0
	err = m.get(ctx, base, "varz", nil, func(_ func() error, body []byte) (bool, error) {
		_, after, found := strings.Cut(string(body), `"/jsz": `)
		if !found {
			return true, nil // it was never asked
		}
		count, err = strconv.Atoi(strings.FieldsFunc(after, func(r rune) bool { return r < '0' || r > '9' })[0])
		return err == nil, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return count
}

// used is the CPU time of the server, and resident its memory, as Linux says.
//
// Source: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func (s *apart) used(b *testing.B) time.Duration {
	b.Helper()
	const ticks = 100 // a second, which Linux shows on every architecture
	return time.Duration(s.stat(b, 11)+s.stat(b, 12)) * time.Second / ticks
}

func (s *apart) resident(b *testing.B) int64 {
	b.Helper()
	return s.stat(b, 21) * int64(os.Getpagesize())
}

func (s *apart) stat(b *testing.B, field int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[field], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
