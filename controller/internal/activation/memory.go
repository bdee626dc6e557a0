package activation

import (
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// memory returns what is remembered of an object. What another process left in
// the status is where this one goes on: the failures as counted, and the last
// activity as late as it may have been.
func (l *Loop) memory(so *v1alpha1.ScaledObject) *memory {
	key := client.ObjectKeyFromObject(so)
	l.began()
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.objects[key]
	if m == nil || m.uid != so.UID {
		m = l.seeded(so)
		if l.objects == nil {
			l.objects = map[types.NamespacedName]*memory{}
		}
		l.objects[key] = m
	}
	if m.generation != so.Generation {
		m.follow(so)
	}
	return m
}

// follow takes note of a changed spec. Failures outlive changes that leave the
// triggers alone; other triggers have other indexes and start afresh.
func (m *memory) follow(so *v1alpha1.ScaledObject) {
	if m.generation != 0 && !apiequality.Semantic.DeepEqual(m.triggers, so.Spec.Triggers) {
		m.failures, m.firstSeen = map[int]scaling.Failures{}, map[int]time.Time{}
	}
	m.generation, m.triggers, m.formula = so.Generation, so.Spec.Triggers, nil
	if modifiers := so.Modifiers(); modifiers != nil {
		// One that does not compile stays nil: Decide says why.
		m.formula, _ = scaling.CompileFormula(modifiers.Formula, scaling.FormulaNames(so))
	}
}

func (l *Loop) seeded(so *v1alpha1.ScaledObject) *memory {
	m := &memory{
		uid:      so.UID,
		failures: map[int]scaling.Failures{}, firstSeen: map[int]time.Time{},
		heard: map[int]uint64{}, acted: map[int]uint64{},
	}
	if at := so.Status.LastActiveTime; at != nil {
		m.lastActive = at.Time
		if so.Status.Conditions.IsTrue(v1alpha1.ConditionActive) {
			m.lastActive = at.Add(status.WritePeriod(so))
		}
		if now := l.Now(); m.lastActive.After(now) {
			m.lastActive = now
		}
	}
	since := map[string]time.Time{}
	for _, verdict := range so.Status.Fallback {
		since[verdict.Metric] = verdict.Since.Time
	}
	for metric, health := range so.Status.Health {
		index, _, ok := scaling.SplitMetricName(metric)
		if ok && health.NumberOfFailures != nil && *health.NumberOfFailures > m.failures[index].Count {
			m.failures[index] = scaling.SeedFailures(*health.NumberOfFailures, since[metric], l.Now())
		}
	}
	return m
}

func (l *Loop) forget(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.objects, key)
	l.Errors.Forget(key.Namespace, key.Name)
}

// keep remembers what the next decision starts from.
func (m *memory) keep(d scaling.Decision) {
	m.lastActive = d.LastActive
	for i, v := range d.Verdicts {
		m.failures[i] = v.Failures
	}
}

// seen is when a trigger was first looked at.
func (m *memory) seen(index int, now time.Time) time.Time {
	if _, ok := m.firstSeen[index]; !ok {
		m.firstSeen[index] = now
	}
	return m.firstSeen[index]
}

// pulsed reports whether a trigger turned active since the last decision that
// was carried out. The first count that is seen is where counting starts.
func (m *memory) pulsed(index int, activations uint64) bool {
	before, known := m.acted[index]
	if !known {
		m.acted[index] = activations
	}
	return known && activations > before
}
