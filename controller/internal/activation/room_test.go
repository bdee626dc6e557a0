package activation

import (
	"context"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// crowded is a cache that has no room for ScaledObjects.
type crowded struct{ client.Client }

func (c crowded) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	err := c.Client.Get(ctx, key, o, options...)
	if so, ok := o.(*v1alpha1.ScaledObject); ok && err == nil {
		_, err = kept.Transform(kept.New(0, 0), "ScaledObject", func(*v1alpha1.ScaledObject) {}, (*v1alpha1.ScaledObject).Stub)(so)
	}
	return err
}

// That there is no room for an object for a while changes nothing of what is known
// of its triggers, whenever it is: its generation stays what it was.
func TestAnObjectGoesOnWhenThereIsRoomAgain(t *testing.T) {
	f := newFixture(t, 0, nil)
	f.says(10)
	room := func(there bool) {
		t.Helper()
		if f.Client = f.cluster.Client; !there {
			f.Client = crowded{f.cluster.Client}
		}
		f.decide()
	}
	room(false)
	f.scaled()
	room(true)
	f.scaled(2)
	so := f.object()
	so.Generation = 2
	if err := f.cluster.Direct.Update(t.Context(), so); err != nil {
		t.Fatal(err)
	}
	f.says(0)
	for _, there := range []bool{false, true, false, true} {
		room(there)
	}
	if m := f.known(key); m == nil || len(m.triggers) != 1 || m.stub {
		t.Errorf("of its triggers is known %+v", m)
	}
	f.Loop = f.process() // another controller, which sees the stub first
	room(false)
	room(true)
	if m := f.known(key); m == nil || len(m.triggers) != 1 || m.stub {
		t.Errorf("of its triggers is known %+v", m)
	}
	// Who only watches goes the same way.
	f.says(10)
	states := func(id federation.ID) (federation.State, bool) { s, ok := f.states[id.Index]; return s, ok }
	var thought Thought
	for i, cut := range []bool{true, false, true, false} {
		so, none := f.object(), int32(0)
		if so.Generation = int64(2 + i/2); cut {
			so.Stub("no room")
		}
		d, _, ok := thought.Decide(so, &none, nil, states, f.clock.Now())
		if !ok || !cut && (d.Write == nil || *d.Write != 2) {
			t.Errorf("stub %v: decided %+v", cut, d)
		}
	}
}
