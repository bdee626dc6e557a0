// Package shadow decides about all objects while somebody else scales them, and
// keeps what it read, what it would have done and what the other did. It writes
// nothing: it has readers alone.
//
//	shadow.go   looks at everything every few seconds
//	entry.go    what is kept of one object, and for how long
//	facts.go    both sides of a ScaledObject
//	jobs.go     both sides of a ScaledJob
//	serve.go    the page for kubectl port-forward
package shadow

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/equivalence"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledobject"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

const (
	// lookPeriod is how often everything is looked at. Work that came and went
	// meanwhile is counted by who reads.
	lookPeriod = 5 * time.Second
	// readTime is how long all targets together may take that no cache has.
	readTime = 2 * time.Second
	// readAgain is how old one of them may get.
	readAgain = 30 * time.Second
)

// Shadow follows who scales in our place.
type Shadow struct {
	// Client reads from the manager's cache.
	Client client.Reader
	// Jobs are those of a ScaledJob that the cache has, which nobody changes.
	Jobs func(ctx context.Context, of types.NamespacedName) ([]*batchv1.Job, error)
	// Targets reads the replicas of targets.
	Targets Targets
	// States answers from memory what families said about a trigger.
	States func(federation.ID) (federation.State, bool)
	// Leader is who scales in our place, and whether that is somebody of whom
	// this process is to be the shadow.
	Leader func() (who string, on bool)
	// Mode is what this process does otherwise, and Lease who leads, where
	// nobody's shadow is cast.
	Mode func(context.Context) (mode equivalence.Mode, leader string)
	Now  func() time.Time
	Log  *slog.Logger

	mu      sync.Mutex
	on      bool
	leader  string
	since   time.Time
	looked  time.Time
	entries map[id]*entry
	room    room
	untold  int
}

// Targets reads targets, as package target does.
type Targets interface {
	Get(ctx context.Context, so *v1alpha1.ScaledObject) (target.Target, error)
}

// id is an object.
type id struct {
	kind string
	key  types.NamespacedName
}

// NeedLeaderElection tells controller-runtime that whoever does not lead is a
// shadow, too: any of them answers.
func (s *Shadow) NeedLeaderElection() bool { return false }

// Start looks until ctx is done.
func (s *Shadow) Start(ctx context.Context) error {
	tick := time.NewTicker(lookPeriod)
	defer tick.Stop()
	for {
		_ = guard.Do("a look in shadow", "", func() { s.look(ctx) }) // logged
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look brings everything up to date, or forgets it when there is nobody to
// follow.
func (s *Shadow) look(ctx context.Context) {
	if !s.begin() {
		return
	}
	hpas := s.theirs(ctx)
	reads, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	seen := map[id]bool{}
	untold := 0
	each := func(of id, triggers int, look func(e *entry)) {
		seen[of] = true
		e := s.entry(of, triggers)
		if e == nil {
			untold++
			return
		}
		_ = guard.Do("a look in shadow", of.kind+" "+of.key.String(), func() { look(e) }) // logged
		s.keep(of, e)
	}
	var objects v1alpha1.ScaledObjectList
	if err := s.Client.List(ctx, &objects, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache has not started
	}
	for i := range objects.Items {
		so := &objects.Items[i]
		of := id{scalerv1.KindScaledObject, client.ObjectKeyFromObject(so)}
		each(of, len(so.Spec.Triggers), func(e *entry) { s.object(reads, so, hpas[of.key], e) })
	}
	var batches v1alpha1.ScaledJobList
	if err := s.Client.List(ctx, &batches, client.UnsafeDisableDeepCopy); err != nil {
		return
	}
	for i := range batches.Items {
		sj := &batches.Items[i]
		of := id{scalerv1.KindScaledJob, client.ObjectKeyFromObject(sj)}
		jobs, err := s.Jobs(ctx, of.key)
		if err != nil {
			return
		}
		each(of, len(sj.Spec.Triggers), func(e *entry) { s.job(sj, jobs, e) })
	}
	s.end(seen, untold)
}

// begin reports whether there is somebody to follow.
func (s *Shadow) begin() bool {
	leader, on := s.Leader()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case on && !s.on:
		s.since = s.Now()
		s.Log.Info("in shadow: everything is read and decided, and nothing is written", "leader", leader)
	case !on && s.on:
		s.entries, s.room, s.untold, s.looked = nil, room{}, 0, time.Time{}
		s.Log.Info("no longer in shadow")
	}
	s.on, s.leader = on, leader
	return on
}

// end drops what is known of objects that are gone.
func (s *Shadow) end(seen map[id]bool, untold int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for of, e := range s.entries {
		if !seen[of] {
			s.room.leave(of.key.Namespace, e.bytes)
			delete(s.entries, of)
		}
	}
	s.untold, s.looked = untold, s.Now()
}

// theirs are the HPAs that the other made, by ScaledObject.
func (s *Shadow) theirs(ctx context.Context) map[types.NamespacedName]*autoscalingv2.HorizontalPodAutoscaler {
	hpas := map[types.NamespacedName]*autoscalingv2.HorizontalPodAutoscaler{}
	var list autoscalingv2.HorizontalPodAutoscalerList
	if err := s.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err == nil {
		for i := range list.Items {
			for _, owner := range scaledobject.OwnerOf(&list.Items[i]) {
				hpas[types.NamespacedName{Namespace: list.Items[i].Namespace, Name: owner}] = &list.Items[i]
			}
		}
	}
	return hpas
}

var compared = prometheus.NewDesc("sluice_shadow_objects", "Objects that somebody else scales, by what became of comparing.", []string{"verdict"}, nil)

// Describe implements prometheus.Collector.
func (s *Shadow) Describe(ch chan<- *prometheus.Desc) { ch <- compared }

// Collect implements prometheus.Collector. There is nothing to tell but in
// shadow.
func (s *Shadow) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on {
		return
	}
	count := map[equivalence.Verdict]float64{
		equivalence.Agrees: 0, equivalence.Differs: 0, equivalence.NotServed: 0, equivalence.Unknown: float64(s.untold),
	}
	for _, e := range s.entries {
		count[e.told.Verdict]++
	}
	for verdict, n := range count {
		ch <- prometheus.MustNewConstMetric(compared, prometheus.GaugeValue, n, string(verdict))
	}
}
