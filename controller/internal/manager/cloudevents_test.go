package manager

import (
	"math"
	"strings"
	"testing"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Whoever may edit sources of a namespace shapes what every controller holds.
func TestLargeSourcesAreNotKept(t *testing.T) {
	keptSource := keptSource[eventing.CloudEventSource](ofUsers(math.MaxInt), "CloudEventSource")
	source := func() *eventing.CloudEventSource {
		return &eventing.CloudEventSource{Spec: eventing.CloudEventSourceSpec{Destination: eventing.Destination{HTTP: &eventing.HTTPDestination{URI: "http://sink"}}}}
	}
	if got, err := keptSource(source()); err != nil || got.(*eventing.CloudEventSource).Spec.Destination.HTTP == nil {
		t.Errorf("of a usual source is kept %v, %v", got, err)
	}
	long := strings.Repeat("x", 1<<20)
	for name, grow := range map[string]func(*eventing.CloudEventSource){
		"a spec":   func(s *eventing.CloudEventSource) { s.Spec.ClusterName = long },
		"metadata": func(s *eventing.CloudEventSource) { s.Finalizers = []string{long} },
		"a status": func(s *eventing.CloudEventSource) { s.Status.Conditions = v1alpha1.Conditions{{Message: long}} },
	} {
		large := source()
		grow(large)
		if _, err := keptSource(large); err != nil || !v1alpha1.Fits(large, 2*mostOfSource) {
			t.Errorf("%s that is large is kept, %v", name, err)
		}
	}
}
