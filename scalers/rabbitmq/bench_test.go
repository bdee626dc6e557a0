package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// A thousand triggers, each of a queue of its own in one vhost, read in batches
// as the sampler does.
const (
	benchTriggers = 1000
	benchBatch    = 500
)

// BenchmarkAMQP reports the connections and the declarations per second.
func BenchmarkAMQP(b *testing.B) {
	r := servers.SharedRabbitMQ(b)
	asked := benchmarked(b, r)
	p, address := proxied(b, r, b.Name())
	readAll(b, address, asked)
	b.ReportMetric(float64(p.Stats().Accepted), "connections")
	b.ReportMetric(float64(benchTriggers*b.N)/b.Elapsed().Seconds(), "declarations/s")
}

// BenchmarkHTTP reports the requests that listings save.
func BenchmarkHTTP(b *testing.B) {
	r := servers.SharedRabbitMQ(b)
	asked := benchmarked(b, r)
	requests, address := counted(b, r, b.Name())
	readAll(b, address, asked)
	sent := float64(len(requests()))
	b.ReportMetric(sent/float64(b.N), "requests/op")
	b.ReportMetric(sent/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric(float64(benchTriggers*b.N)/b.Elapsed().Seconds(), "queues/s")
}

// benchmarked makes the queues, in a vhost of the benchmark's name.
func benchmarked(b *testing.B, r *servers.RabbitMQServer) []string {
	b.Helper()
	o := operate(b, r.AMQPURL(vhost(b, r)))
	queues := names("q", benchTriggers)
	for _, name := range queues {
		o.queue(name, 0)
	}
	return queues
}

func readAll(b *testing.B, address string, asked []string) {
	b.Helper()
	sources := opened(b, address, asked...)
	for b.Loop() {
		for first := 0; first < len(sources); first += benchBatch {
			for _, result := range batch(b, b.Context(), sources[first:first+benchBatch]) {
				if result.Err != nil {
					b.Fatal(result.Err)
				}
			}
		}
	}
}
