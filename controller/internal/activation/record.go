package activation

import (
	"context"
	"slices"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/readings"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// toldDecisions is how many decisions the status tells of.
const toldDecisions = 3

// record is what there is to tell about the decisions for one object. It is
// guarded by the loop: others read it while the loop goes on.
type record struct {
	history account.History
	// formula is that of the last decision, nil for none.
	formula *scaling.ExplainedFormula
	changes []v1alpha1.Decision
	// replicas is what the target had at the last decision, nil before.
	replicas *int32
	// cold is the last cold start, nil before the first.
	cold *ColdStart
}

// Account returns what was decided about an object in this term. It is false
// while nothing was.
func (l *Loop) Account(key types.NamespacedName) (account.Account, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.objects[key]
	if m == nil {
		return account.Account{}, false
	}
	a, told := m.record.history.Tell()
	a.Changes = slices.Clone(m.record.changes)
	a.ColdStart = m.record.cold
	return a, told
}

// Formula returns what the formula of an object came to at the last decision,
// nil for nothing.
func (l *Loop) Formula(key types.NamespacedName) *scaling.ExplainedFormula {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.objects[key]; m != nil {
		return m.record.formula
	}
	return nil
}

// explain keeps how the decision came about.
func (l *Loop) explain(m *memory, in scaling.Input, d scaling.Decision) scaling.Explanation {
	e := scaling.Explain(in, d)
	// Nobody else changes it.
	history := m.record.history.With(e, account.Room{Budget: l.Room, Namespace: in.Object.Namespace, Name: in.Object.Name})
	l.mu.Lock()
	defer l.mu.Unlock()
	m.record.history, m.record.formula = history, e.Formula
	return e
}

// scaled tells of a change that was made.
func (l *Loop) scaled(ctx context.Context, m *memory, t target.Target, e scaling.Explanation) {
	change := v1alpha1.Decision{Time: metav1.NewMicroTime(e.Time.Truncate(time.Microsecond)), Message: e.String()}
	l.mu.Lock()
	m.record.changes = slices.Insert(m.record.changes, 0, change)
	m.record.changes = m.record.changes[:min(len(m.record.changes), toldDecisions)]
	m.record.replicas = e.Write
	l.mu.Unlock()
	logr.FromContextOrDiscard(ctx).Info("scaled", "target", t.GVKR.Kind+"/"+t.Key.Name,
		"from", *e.Replicas, "to", *e.Write, "by", "controller", "because", change.Message)
}

// noticed tells of a change that somebody else made since the last decision.
func (l *Loop) noticed(ctx context.Context, m *memory, t target.Target, now int32) {
	l.mu.Lock()
	before := m.record.replicas
	m.record.replicas = &now
	l.mu.Unlock()
	if before != nil && *before != now {
		logr.FromContextOrDiscard(ctx).Info("scaled", "target", t.GVKR.Kind+"/"+t.Key.Name,
			"from", *before, "to", now, "by", "HPA or user")
	}
}

// changes are what the status tells of.
func (l *Loop) changes(m *memory) []v1alpha1.Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(m.record.changes)
}

// measure tells how late a decision follows what was read since the last one,
// and of readings without data.
func (l *Loop) measure(so *v1alpha1.ScaledObject, m *memory, read []readings.Reading, now time.Time) {
	newest, fresh := readings.Newest(m.triggers, read)
	if l.Figures == nil || newest.IsZero() {
		return
	}
	for _, r := range fresh {
		l.Figures.Read(so, r.Index, r.Names(), r.Read == scaling.NoData)
	}
	l.Figures.Decided(so, max(now.Sub(newest), 0))
	l.Figures.Objective(so)
}

func triggerID(so *v1alpha1.ScaledObject, index int) federation.ID {
	return federation.ID{Kind: scalerv1.KindScaledObject, Namespace: so.Namespace, Name: so.Name, Index: index}
}
