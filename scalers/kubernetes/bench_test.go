package main

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube/kubetest"
)

const (
	benchTriggers = 1000
	benchPods     = 10_000
)

// BenchmarkWorkload reads a thousand selectors over ten thousand Pods of one
// namespace, and reports the requests that this takes and what the Pods take of
// the heap.
func BenchmarkWorkload(b *testing.B) {
	server := kubetest.Start(b)
	for i := range benchPods {
		server.Put(newPod(fmt.Sprintf("p%d", i), fmt.Sprintf("n%d", i%100), "Running"))
	}
	before := heap()
	ctx, release := scaler.Opening(b.Context())
	defer release()
	var sources []scaler.Source
	for i := range benchTriggers {
		source, err := openWorkload(ctx, workloadParams{
			Object: scaler.Object{Namespace: "default"}, PodSelector: fmt.Sprintf("app=orders,pod!=p%d", i), GroupByNode: i%2 == 0,
		})
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, source)
	}
	if _, err := sources[0].Read(b.Context()); err != nil {
		b.Fatal(err)
	}
	taken := heap() - before
	reads := 0
	for b.Loop() {
		if _, err := sources[reads%benchTriggers].Read(b.Context()); err != nil {
			b.Fatal(err)
		}
		reads++
	}
	b.ReportMetric(float64(taken)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(server.Requests("pods")), "requests")
	b.ReportMetric(float64(reads)/b.Elapsed().Seconds(), "reads/s")
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
