package activation

import (
	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// ColdStart is what is told of it.
type ColdStart = account.ColdStart

// woke tells how long the work of active triggers waited for a rise from rest, and
// begins to wait for a ready replica. Work that woke the target before, as when
// somebody put it to rest again by hand, is not told of twice.
func (l *Loop) woke(so *v1alpha1.ScaledObject, m *memory, t target.Target, read []readings.Reading, e scaling.Explanation) {
	if !scaling.AtRest(so, *e.Replicas) || *e.Write <= *e.Replicas {
		return
	}
	now := l.Now()
	var first ColdStart
	for _, r := range read {
		came, told := r.EventTime, true
		if came.IsZero() {
			came, told = r.ObservedAt, false
		}
		if !r.Asks() || came.IsZero() || came.Equal(m.triggers[r.Index].Woke) {
			continue
		}
		m.triggers[r.Index].Woke = came
		if told && l.Figures != nil {
			l.Figures.Woken(so.Spec.Triggers[r.Index].Type, max(now.Sub(came), 0))
		}
		// The word of a source is more than that of a reading, whichever is earlier.
		if first.Arrived.IsZero() || told && !first.Told || told == first.Told && came.Before(first.Arrived) {
			first = ColdStart{Arrived: came, Told: told, Written: now}
		}
	}
	if first.Arrived.IsZero() {
		return
	}
	if l.Figures != nil {
		l.Figures.Woke(so, max(now.Sub(first.Arrived), 0), first.Told)
	}
	// Pods of the time before may be on their way out still: then nobody can tell
	// when the first of these was ready.
	if count, known := t.Ready(); known && count == 0 && *e.Replicas == 0 {
		m.waking = &first
	}
}

// ready tells of a cold start that is over.
func (l *Loop) ready(so *v1alpha1.ScaledObject, m *memory, t target.Target, replicas int32) {
	if m.waking == nil {
		return
	}
	if replicas == 0 { // it went to rest again before
		m.waking = nil
		return
	}
	if count, _ := t.Ready(); count == 0 {
		return
	}
	cold := m.waking
	m.waking = nil
	cold.Ready = l.Now()
	after := max(cold.Ready.Sub(cold.Arrived), 0)
	cold.Seconds = after.Seconds()
	l.mu.Lock()
	m.record.cold = cold
	l.mu.Unlock()
	if l.Figures != nil {
		l.Figures.Started(so, after)
	}
}

// ColdStarts are the last ones of all objects that had one in this term, in no order.
func (l *Loop) ColdStarts() []account.ObjectColdStart {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := []account.ObjectColdStart{}
	for key, m := range l.objects {
		if cold := m.record.cold; cold != nil {
			all = append(all, account.ObjectColdStart{Namespace: key.Namespace, Name: key.Name, ColdStart: *cold})
		}
	}
	return all
}
