package scalertest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// Limits of the sampler.
const (
	largestBatch = 500
	readsAtOnce  = 32 // of one endpoint
)

// ReadAll reads all sources in every round of a benchmark, as the sampler does:
// those of one batch together, the others each by itself and some at once. It
// reports the readings per second under unit, such as "queries/s".
func ReadAll(b *testing.B, sources []scaler.Source, unit string) {
	b.Helper()
	batches := map[scaler.Batch][]scaler.Source{}
	var alone []scaler.Source
	for _, source := range sources {
		if batched, ok := source.(scaler.Batched); ok {
			batches[batched.Batch()] = append(batches[batched.Batch()], source)
		} else {
			alone = append(alone, source)
		}
	}
	order := slices.Collect(maps.Keys(batches))
	for b.Loop() {
		for _, batch := range order {
			for members := range slices.Chunk(batches[batch], largestBatch) {
				readBatch(b, batch, members)
			}
		}
		ReadAtOnce(b, alone)
	}
	b.ReportMetric(float64(len(sources)*b.N)/b.Elapsed().Seconds(), unit)
}

func readBatch(b *testing.B, batch scaler.Batch, members []scaler.Source) {
	b.Helper()
	for _, result := range scaler.ReadTogether(b.Context(), batch, members...) {
		if result.Err != nil {
			b.Fatal(result.Err)
		}
	}
}

// ListenToAll has the sources of that many triggers read and then listened to, as
// those of idle ones are. It returns once all would ring, and stop ends them.
func ListenToAll(b *testing.B, triggers int, open func(ctx context.Context, i int) (scaler.Source, error)) (stop func()) {
	b.Helper()
	opening, release := scaler.Opening(b.Context())
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	ready := make(chan struct{}, triggers)
	sources := make([]scaler.Source, triggers)
	for i := range sources {
		source, err := open(opening, i)
		if err != nil {
			b.Fatal(err)
		}
		sources[i] = source
	}
	ReadAtOnce(b, sources)
	for _, source := range sources {
		all.Go(func() {
			err := source.(scaler.Ringer).Listen(ctx, func() { ready <- struct{}{} }, func() {})
			if ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	for range triggers {
		<-ready
	}
	return func() {
		cancel()
		all.Wait()
		release()
	}
}

// ReadAtOnce reads each source by itself, as many at a time as the sampler does
// at one endpoint, and returns what they say in the order of sources. All of them have to.
func ReadAtOnce(t testing.TB, sources []scaler.Source) [][]scaler.Reading {
	t.Helper()
	all := make([][]scaler.Reading, len(sources))
	var reading sync.WaitGroup
	places := make(chan struct{}, readsAtOnce)
	for i, source := range sources {
		places <- struct{}{}
		reading.Go(func() {
			defer func() { <-places }()
			ctx, cancel := limited(t.Context())
			defer cancel()
			readings, err := source.Read(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			all[i] = readings
		})
	}
	reading.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}
