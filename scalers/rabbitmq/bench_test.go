package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// benchTriggers are each of a queue of its own, all in one vhost.
const benchTriggers = 1000

// BenchmarkAMQP reports the connections and the declarations per second.
func BenchmarkAMQP(b *testing.B) {
	r := servers.SharedRabbitMQ(b)
	asked := benchmarked(b, r)
	p, address := proxied(b, r, b.Name())
	scalertest.ReadAll(b, opened(b, address, asked...), "declarations/s")
	b.ReportMetric(float64(p.Stats().Accepted), "connections")
}

// BenchmarkHTTP reports the requests that listings save.
func BenchmarkHTTP(b *testing.B) {
	r := servers.SharedRabbitMQ(b)
	asked := benchmarked(b, r)
	requests, address := counted(b, r, b.Name())
	scalertest.ReadAll(b, opened(b, address, asked...), "queues/s")
	sent := float64(len(requests()))
	b.ReportMetric(sent/float64(b.N), "requests/op")
	b.ReportMetric(sent/b.Elapsed().Seconds(), "requests/s")
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
