package serving

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"google.golang.org/grpc/status"
)

// frames returns what the client does not know yet about an entry, in the
// order of the contract, and notes it as told.
func (e *entry) frames() []*scalerv1.WatchResponse {
	if e.rejected != nil {
		return []*scalerv1.WatchResponse{{Response: &scalerv1.WatchResponse_Rejected{Rejected: &scalerv1.Rejected{
			Id: e.id, Generation: e.generation, Status: wireStatus(e.rejected), Specs: wireSpecs(e.metrics),
		}}}}
	}
	var frames []*scalerv1.WatchResponse
	s := e.sub
	s.mu.Lock()
	defer s.mu.Unlock()
	// Some warnings are known only once the credentials are, or the source has
	// answered.
	if warnings := s.warnings(); !e.told.accepted || !slices.Equal(e.told.warnings, warnings) {
		e.told.accepted, e.told.warnings = true, warnings
		frames = append(frames, &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Accepted{Accepted: &scalerv1.Accepted{
			Id: e.id, Generation: e.generation, Detection: s.detection(), Warnings: warnings,
			ReadDeadline: durationpb.New(s.core.sampler.Deadline(s.binding.Timeout, s.wish.Interval)),
		}}})
	}
	if s.specs != nil && !slices.Equal(e.told.specs, s.specs) {
		e.told.specs = s.specs
		frames = append(frames, &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Specs{Specs: &scalerv1.Specs{
			Id: e.id, Generation: e.generation, Specs: wireSpecs(s.specs),
		}}})
	}
	if o := s.observation; o != nil && e.knowsNot(s) {
		e.told.observation, e.told.activations, e.told.at = o, s.activations, s.at
		frames = append(frames, &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Observation{Observation: s.wire(o)}})
	}
	return frames
}

// warnings are those of the trigger and of its last reading; s.mu is held.
func (s *subscription) warnings() []string {
	if s.observation == nil || s.observation.warning == "" {
		return s.binding.Warnings
	}
	return words.Few(append(slices.Clip(s.binding.Warnings), s.observation.warning))
}

// knowsNot reports whether the last observation is news; s.mu is held.
func (e *entry) knowsNot(s *subscription) bool {
	return s.activations != e.told.activations || !s.observation.equal(e.told.observation) ||
		s.everyRead && !s.at.Equal(e.told.at)
}

// wire puts an observation on the wire; s.mu is held.
func (s *subscription) wire(o *observation) *scalerv1.Observation {
	w := &scalerv1.Observation{
		Id: s.id, Generation: s.generation,
		Age:           durationpb.New(time.Since(s.at)),
		Outcome:       o.outcome,
		Activations:   s.activations,
		Detection:     o.detection,
		DetectionNote: o.note,
		Took:          durationpb.New(o.took),
		Traceparent:   o.traceparent,
	}
	if o.err != nil {
		w.Status = wireStatus(failure.Status(s.trigger.Type, o.err))
	}
	for _, v := range o.values {
		w.Values = append(w.Values, &scalerv1.Value{MetricName: v.name, Value: v.value, Active: v.active})
	}
	if !o.eventTime.IsZero() {
		w.SourceEventTime = timestamppb.New(o.eventTime)
	}
	return w
}

func wireStatus(st *status.Status) *scalerv1.Status {
	return &scalerv1.Status{Code: int32(st.Code()), Message: st.Message()}
}

// detection is how arrival of work will be detected; s.mu is held.
func (s *subscription) detection() scalerv1.Detection {
	announced := s.core.detection[s.trigger.Type]
	if announced != scalerv1.Detection_DETECTION_DOORBELL {
		return announced
	}
	off := s.wish.Doorbell == scalerv1.Doorbell_DOORBELL_OFF
	if off || s.binding.Silent != "" && s.wish.Doorbell != scalerv1.Doorbell_DOORBELL_ON {
		return scalerv1.Detection_DETECTION_POLLING
	}
	return announced
}
