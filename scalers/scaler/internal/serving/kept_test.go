package serving

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

type crowdedParams struct {
	Name   string  `param:"name,required"`
	Query  string  `param:"query" long:"true"`
	Target float64 `param:"target" default:"5" role:"target"`
}

func (p crowdedParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: "crowded-" + p.Name, Target: p.Target}}
}

// crowdedSource makes an address of its parameters, as most do, and errors that name
// both at each of their levels.
type crowdedSource struct{ name, address string }

func openCrowded(_ context.Context, p crowdedParams) (contract.Source, error) {
	return &crowdedSource{p.Name, "http://server.example.org/" + url.QueryEscape(p.Name) + "?q=" + url.QueryEscape(p.Query)}, nil
}

func (s *crowdedSource) Read(context.Context) ([]contract.Reading, error) {
	err := errors.New("GET " + s.address + " says no")
	for range 3 {
		err = words.Errorf(codes.NotFound, "queue %s: %w", s.name, err)
	}
	return nil, fmt.Errorf("%s: %w", s.name, err)
}

// TestWhatIsKeptOfTriggersIsBounded has three namespaces make as many triggers as they
// may, of each kind that takes memory of its own. What is kept of them, and of their
// failures, is what is counted, and what is counted is a part of the memory that there
// is.
func TestWhatIsKeptOfTriggersIsBounded(t *testing.T) {
	const (
		memory     = 24 << 20
		namespaces = 3
	)
	crowded := trigger.Define("crowded", openCrowded)
	unique := func(n, bytes int) string { return fmt.Sprintf("%0*d", bytes, n) }
	kinds := map[string]func(n int) map[string]string{
		"very many": func(n int) map[string]string { return map[string]string{"name": unique(n, 8)} },
		"names":     func(n int) map[string]string { return map[string]string{"name": unique(n, 4000)} },
		"names to escape": func(n int) map[string]string {
			return map[string]string{"name": strings.Repeat("/", 4000) + unique(n, 8)}
		},
		"queries": func(n int) map[string]string {
			return map[string]string{"name": unique(n, 8), "query": strings.Repeat("/", 60<<10) + unique(n, 8)}
		},
		"names of unknown parameters": func(n int) map[string]string {
			metadata := map[string]string{"name": unique(n, 8)}
			for i := range 100 {
				metadata[unique(i, 600)] = ""
			}
			return metadata
		},
	}
	for name, metadata := range kinds {
		t.Run(name, func(t *testing.T) {
			withFamily(t, func(t *testing.T, f *served) {
				c := f.server.core
				before := debug.SetMemoryLimit(memory)
				c.asking = newCore(Config{Family: "wells"}).asking
				debug.SetMemoryLimit(before)
				empty := heap()
				var kept []*subscription
				defer func() {
					for _, sub := range kept {
						sub.close()
					}
				}()
				for n := range namespaces {
					for i := 0; ; i++ {
						ref := wellRef(fmt.Sprint("mallory", n))
						ref.ScalerMetadata = metadata(i)
						ref.ScalerMetadata["name"] += fmt.Sprint(n)
						ref.ScalerMetadata[scalerv1.KeyTriggerType] = "crowded"
						sub, err := c.subscribe(t.Context(), crowded, trigger.Request{Ref: ref}, sampling.Wish{Interval: time.Minute}, func() {})
						if status.Code(err) == codes.ResourceExhausted {
							break
						}
						if err != nil {
							t.Fatalf("%.200v", err)
						}
						kept = append(kept, sub)
					}
				}
				wait(2 * time.Minute)
				if last := kept[len(kept)-1].failure; last != nil || kept[0].observation == nil {
					t.Fatalf("nothing was read: %v", last)
				}
				took := heap() - empty
				if took > memory/askingOfAll {
					t.Errorf("%d triggers take %d KiB, and may take %d", len(kept), took>>10, memory/askingOfAll>>10)
				}
				other := wellRef("shop", scalerv1.KeyTriggerType, "crowded")
				sub, err := c.subscribe(t.Context(), crowded, trigger.Request{Ref: other}, sampling.Wish{Interval: time.Minute}, func() {})
				if err != nil {
					t.Fatalf("another namespace: %v", err)
				}
				kept = append(kept, sub)
			})
		})
	}
}

// heap is how many bytes are in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}
