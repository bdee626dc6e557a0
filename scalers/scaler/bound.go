package scaler

import (
	"context"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Bound is a trigger of one object after its parameters were understood, as a
// test kit sees it.
type Bound struct {
	// Metrics are the trigger's, from its metadata alone; nil for a Specced.
	Metrics []Metric
	// Question is equal for triggers that may share a Source.
	Question string
	// Shape makes the object's readings out of the source's.
	Shape func(raw []Reading) []Reading
	// Open opens the source. Its ctx comes from Opening.
	Open func(context.Context) (Source, error)
}

// Bind understands a trigger as a family does. It is for test kits; families
// are bound by Serve.
func (t Trigger) Bind(ref *externalscaler.ScaledObjectRef, creds *Credentials) (*Bound, error) {
	b, err := bindSafely(t, request{ref}, creds)
	if err != nil {
		return nil, statusOf(t.Type, err).Err()
	}
	return &Bound{Metrics: b.metrics, Question: b.question, Shape: b.shape, Open: b.open}, nil
}

// Describe says what the trigger type is: the part of the answer to the rpc of
// that name.
func (t Trigger) Describe() *scalerv1.TriggerType { return t.description }
