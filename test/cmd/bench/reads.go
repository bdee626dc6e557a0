package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"
)

// readers read metrics at once.
const readers = 8

// readFigures say how long reads of metrics took through the aggregator.
type readFigures struct {
	Reads     int       `json:"reads"`
	Errors    int       `json:"errors"`
	PerSecond float64   `json:"perSecond"`
	Took      quantiles `json:"took"`
	// Phase is what was used meanwhile.
	Phase phase `json:"used"`
	// LastError is one of the errors, to look into.
	LastError string `json:"lastError,omitempty"`
}

// reads measures metric reads while some objects are above zero.
func (b *bench) reads(ctx context.Context) error {
	b.say("waking %d objects to read their metrics", b.Active)
	active := numbers(0, b.Active)
	topics := map[int]bool{}
	for _, i := range active {
		topics[b.topicOf(i)] = true
	}
	for topic := range topics {
		if err := b.broker.produce(ctx, topicName(topic), full*perReplica); err != nil {
			return err
		}
	}
	if err := b.fleet.wait(ctx, "replicas", active, hasPods(full)); err != nil {
		return err
	}
	b.look("before reads")
	var err error
	b.say("%d readers, as fast as they can, %s", readers, b.Reading)
	if b.figures.Reads, err = b.read(ctx, active, 0); err != nil {
		return err
	}
	// What an HPA controller asks for this many objects above zero.
	every := 15 * time.Second / time.Duration(b.Objects)
	b.say("%d readers, a read each %s, %s", readers, every, b.Reading)
	b.figures.PacedReads, err = b.read(ctx, active, every)
	return err
}

// read reads the metrics of objects in turn, each reader at once after its
// last answer or, with a pace, one of them each time.
func (b *bench) read(ctx context.Context, objects []int, pace time.Duration) (readFigures, error) {
	clientset, err := kubernetes.NewForConfig(b.cluster.Config())
	if err != nil {
		return readFigures{}, err
	}
	before, err := b.use(ctx)
	if err != nil {
		return readFigures{}, err
	}
	limited, cancel := context.WithTimeout(ctx, b.Reading)
	defer cancel()
	begin := time.Now()
	turns := make(chan int)
	go func() {
		defer close(turns)
		deal(limited, turns, pace)
	}()
	var figures readFigures
	var mu sync.Mutex
	var took []time.Duration
	var failed atomic.Int64
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			for turn := range turns {
				name := objectName(objects[turn%len(objects)])
				path := fmt.Sprintf("/apis/external.metrics.k8s.io/v1beta1/namespaces/%s/%s", namespace, b.fleet.of(name).metric)
				asked := time.Now()
				_, err := clientset.RESTClient().Get().AbsPath(path).Param("labelSelector", "scaledobject.keda.sh/name="+name).DoRaw(ctx)
				answered := time.Since(asked)
				mu.Lock()
				took = append(took, answered)
				if err != nil {
					figures.LastError = err.Error()
					failed.Add(1)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	after, err := b.use(ctx)
	if err != nil {
		return readFigures{}, err
	}
	figures.Reads, figures.Errors = len(took), int(failed.Load())
	figures.PerSecond = float64(len(took)) / time.Since(begin).Seconds()
	figures.Took, figures.Phase = quantilesOf(took), after.since(before)
	return figures, nil
}

// deal gives out turns until ctx ends, one each pace or as fast as they are
// taken.
func deal(ctx context.Context, turns chan<- int, pace time.Duration) {
	var tick <-chan time.Time
	if pace > 0 {
		ticker := time.NewTicker(pace)
		defer ticker.Stop()
		tick = ticker.C
	}
	for turn := 0; ; turn++ {
		if tick != nil {
			select {
			case <-tick:
			case <-ctx.Done():
				return
			}
		}
		select {
		case turns <- turn:
		case <-ctx.Done():
			return
		}
	}
}
