package ui

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/top"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func row(name, state string) Row {
	return Row{Key: "ScaledObject/shop/" + name, Row: top.Row{Kind: "ScaledObject", Namespace: "shop", Name: name, State: state}}
}

func point(second int, backlog float64) Point {
	return Point{Time: noon.Add(time.Duration(second) * time.Second), Backlog: &backlog, Replicas: ptr.To[int32](1)}
}

func TestChangesAreThoseSinceAVersion(t *testing.T) {
	r := NewRows()
	r.Set(row("a", "idle"), point(0, 0))
	r.Set(row("b", "idle"), point(0, 0))
	c, version, _ := r.Since(0)
	if !c.Reset || len(c.Rows) != 2 || c.Complete {
		t.Fatalf("at first: %+v", c)
	}
	c, version, more := r.Since(version)
	if c.Reset || len(c.Rows) != 0 || len(c.Gone) != 0 {
		t.Errorf("nothing changed: %+v", c)
	}
	r.Set(row("a", "active"), point(1, 5))
	select {
	case <-more:
	default:
		t.Error("nobody is told of a change")
	}
	r.Delete("ScaledObject/shop/b")
	r.Delete("ScaledObject/shop/nobody")
	r.Trouble("scaledjobs", "you may not")
	r.Complete()
	c, version, _ = r.Since(version)
	if c.Reset || len(c.Rows) != 1 || c.Rows[0].Name != "a" || c.Rows[0].Wakes != 1 || len(c.Gone) != 1 || c.Gone[0] != "ScaledObject/shop/b" ||
		c.Trouble["scaledjobs"] != "you may not" || !c.Complete {
		t.Errorf("changes: %+v", c)
	}
	// One that goes and comes is there.
	r.Delete("ScaledObject/shop/a")
	r.Set(row("a", "idle"), point(2, 0))
	r.Trouble("scaledjobs", "")
	if c, _, _ = r.Since(version); len(c.Gone) != 0 || len(c.Rows) != 1 || len(c.Trouble) != 0 {
		t.Errorf("after it came back: %+v", c)
	}
}

func TestWhatIsRememberedOfRowsIsBounded(t *testing.T) {
	r := NewRows()
	_, version, _ := r.Since(0)
	for i := range mostGone + 1 {
		r.Set(row(fmt.Sprint(i), "idle"), point(0, 0))
		r.Delete(row(fmt.Sprint(i), "").Key)
	}
	if len(r.gone) != mostGone || len(r.rows) != 0 {
		t.Errorf("%d departures and %d rows are kept", len(r.gone), len(r.rows))
	}
	if c, _, _ := r.Since(version + 1); !c.Reset {
		t.Errorf("who was away for too long is not told all: %+v", c)
	}
	for i := range 3 * mostPoints {
		r.Set(row("a", "active"), point(i, float64(i/2))) // each twice
	}
	_, points, _ := r.Points(row("a", "").Key, time.Time{})
	if len(points) != mostPoints || *points[len(points)-1].Backlog != float64(3*mostPoints/2-1) || points[1].Backlog == points[0].Backlog {
		t.Errorf("%d points", len(points))
	}
	if _, later, there := r.Points(row("a", "").Key, points[len(points)-2].Time); !there || len(later) != 1 {
		t.Errorf("%d points after the last but one", len(later))
	}
	const many = 10_000
	for i := range many {
		r.Set(row(fmt.Sprint(i), "idle"), point(0, 0))
	}
	r.Set(row("a", "active"), point(0, -1))
	if _, points, _ := r.Points(row("a", "").Key, time.Time{}); len(points) != mostOfAll/(many+1) {
		t.Errorf("of many objects %d points of each", len(points))
	}
	if _, _, there := r.Points("ScaledObject/shop/nobody", time.Time{}); there {
		t.Error("nobody is there")
	}
}
