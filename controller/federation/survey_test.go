package federation

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// TestSurvey: of each type that has a Service it is told who serves it, whether that
// can be asked, and why not. A type that somebody made up is none.
func TestSurvey(t *testing.T) {
	w := newWorld(t)
	whole := newFamily(t, w.events)
	broken := newFamily(t, w.events, func(f *family) { f.describe = status.Error(codes.Internal, "out of order") })
	w.service("kafka", whole, broken)
	w.service("rabbitmq")
	w.Subscribe(trigger("made-up", 1))
	w.Subscribe(trigger("kafka", 2))
	of := func(triggerType string) (Surveyed, bool) {
		for _, s := range w.Survey() {
			if s.Type == triggerType {
				return s, true
			}
		}
		return Surveyed{}, false
	}
	var kafka Surveyed
	w.until("both instances were judged", func() bool {
		kafka, _ = of("kafka")
		states := map[string]string{}
		for _, i := range kafka.Instances {
			states[i.State] = i.Reason
		}
		_, ready := states[InstanceReady]
		return ready && strings.Contains(states[InstanceDown], "out of order")
	})
	if kafka.Family != "kafka" || kafka.Triggers != 1 || kafka.Problem != "" {
		t.Errorf("%+v", kafka)
	}
	for _, i := range kafka.Instances {
		if i.Address == "" || i.State == InstanceReady && i.Version == "" {
			t.Errorf("%+v", i)
		}
	}
	w.until("rabbitmq has a Service", func() bool { _, there := of("rabbitmq"); return there })
	if s, _ := of("rabbitmq"); s.Problem == "" || len(s.Instances) > 0 || s.Triggers != 0 {
		t.Errorf("%+v", s)
	}
	if s, there := of("made-up"); there {
		t.Errorf("%+v", s)
	}
}

// TestAVersionIsShort: what an instance says of itself is its own text.
func TestAVersionIsShort(t *testing.T) {
	i := &instance{description: &scalerv1.DescribeResponse{Version: strings.Repeat("v", 1000)}, readiness: ready}
	if told := i.surveyed().Version; len(told) > longestVersion+len("...") {
		t.Errorf("a version of %d bytes", len(told))
	}
}
