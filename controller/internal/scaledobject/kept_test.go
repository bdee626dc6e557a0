package scaledobject

import (
	"context"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// crowded is a cache that has no room for ScaledObjects, or for HPAs.
type crowded struct {
	client.Client
	objects, hpas bool
}

func (c crowded) stub(o client.Object) error {
	transform := kept.Transform(kept.New(0, 0), "ScaledObject", func(*v1alpha1.ScaledObject) {}, (*v1alpha1.ScaledObject).Stub)
	switch o.(type) {
	case *v1alpha1.ScaledObject:
		if !c.objects {
			return nil
		}
	case *autoscalingv2.HorizontalPodAutoscaler:
		if !c.hpas {
			return nil
		}
		transform = Stripped(kept.New(0, 0))
	}
	_, err := transform(o)
	return err
}

func (c crowded) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if err := c.Client.Get(ctx, key, o, options...); err != nil {
		return err
	}
	return c.stub(o)
}

func (c crowded) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if err := c.Client.List(ctx, list, options...); err != nil {
		return err
	}
	if hpas, ok := list.(*autoscalingv2.HorizontalPodAutoscalerList); ok {
		for i := range hpas.Items {
			if err := c.stub(&hpas.Items[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// An object that there is no room for in memory says so, and keeps its HPA and its
// status. It is read again while there may be room.
func TestAnObjectWithoutRoomKeepsItsHPA(t *testing.T) {
	f := settled(t, newObject())
	hpa, before := f.hpa(), f.object()
	f.Client = crowded{Client: f.cluster.Client, objects: true}
	f.reconcile()
	if got := f.ready(); got.Status != metav1.ConditionFalse || !strings.Contains(got.Message, "there is no room for") {
		t.Errorf("ready is %+v", got)
	}
	if now := f.hpa(); !apiequality.Semantic.DeepEqual(now, hpa) {
		t.Errorf("its HPA is %+v", now)
	}
	if now := f.object(); !apiequality.Semantic.DeepEqual(now.Spec, before.Spec) || now.Status.HpaName != before.Status.HpaName || *now.Status.OriginalReplicaCount != 3 {
		t.Errorf("it is %+v", now)
	}
	said := map[string]bool{}
	f.Room = func(string) bool { return true }
	for range 12 {
		f.clock.Step(time.Minute)
		f.reconcile()
		said[f.ready().Message] = true
	}
	if len(said) != 3 && len(said) != 4 { // of 12 minutes
		t.Errorf("it is written %d times, for it to be read again", len(said))
	}
}

// An HPA that there is no room for is not written: nobody knows what would change,
// and each write would be followed by another.
func TestAnHPAWithoutRoomIsNotWritten(t *testing.T) {
	f := settled(t, newObject())
	hpa := f.hpa()
	f.Client = crowded{Client: f.cluster.Client, hpas: true}
	for range 3 {
		f.reconcile()
	}
	if got := f.ready(); got.Status != metav1.ConditionFalse || !strings.Contains(got.Message, "HPA: ") || !strings.Contains(got.Message, "there is no room for") {
		t.Errorf("ready is %+v", got)
	}
	if now := f.hpa(); now.ResourceVersion != hpa.ResourceVersion {
		t.Error("its HPA was written")
	}
}
