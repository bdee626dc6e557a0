package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// scraper asks every process of ours for its metrics all the time, as a
// Prometheus does. Whatever fails meanwhile, none answers anything but metrics.
type scraper struct {
	cluster    *localcluster.Cluster
	components []string
	end        context.CancelFunc
	ended      chan struct{}

	mu     sync.Mutex
	faults []string
}

// scrapePeriod is how often, and scrapeTimeout what one may take: a process that
// stands still, or is cut off, has no answer to give.
const (
	scrapePeriod  = 2 * time.Second
	scrapeTimeout = 5 * time.Second
)

// startScraper begins to scrape the core and every family that is in the tree.
func startScraper(cluster *localcluster.Cluster) (*scraper, error) {
	families, err := filepath.Glob("../../deploy/scalers/*")
	if err != nil || len(families) == 0 {
		return nil, fmt.Errorf("deploy/scalers has no families: %w", errors.Join(err, os.ErrNotExist))
	}
	ctx, end := context.WithCancel(context.Background())
	s := &scraper{cluster: cluster, components: []string{"controller", "metrics-adapter"}, end: end, ended: make(chan struct{})}
	for _, folder := range families {
		s.components = append(s.components, "scaler-"+filepath.Base(folder))
	}
	go func() {
		defer close(s.ended)
		tick := time.NewTicker(scrapePeriod)
		defer tick.Stop()
		for ctx.Err() == nil {
			s.scrape(ctx)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	return s, nil
}

func (s *scraper) close() {
	s.end()
	<-s.ended
}

// scrape asks every instance once.
func (s *scraper) scrape(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, component := range s.components {
		for _, i := range s.cluster.Instances(component) {
			all.Go(func() {
				_, err := s.cluster.InstanceMetrics(ctx, i, "metrics")
				if answer := new(localcluster.StatusError); errors.As(err, &answer) {
					s.fault(i.Name() + ": " + answer.Error())
				}
			})
		}
	}
	all.Wait()
}

func (s *scraper) fault(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, what)
}

func (s *scraper) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// watch fails a scenario in whose time a scrape was answered with an error.
func (s *scraper) watch(t *testing.T) {
	t.Helper()
	before := len(s.seen())
	t.Cleanup(func() {
		s.scrape(context.WithoutCancel(t.Context()))
		if faults := s.seen()[before:]; len(faults) > 0 {
			t.Errorf("%d scrapes failed meanwhile, the first: %s", len(faults), faults[0])
		}
	})
}
