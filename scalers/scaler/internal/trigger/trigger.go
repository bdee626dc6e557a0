// Package trigger makes a trigger type of a params struct, and understands the
// triggers that requests carry.
package trigger

import (
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
)

// Trigger is a trigger type of a family, made by Define.
type Trigger struct {
	// Type is the text of spec.triggers[].type.
	Type string

	ofObject    bool
	bind        func(Request, *contract.Credentials) (*Binding, error)
	description *scalerv1.TriggerType
}

// Bind understands the trigger of one object. Without credentials (nil) the
// binding is partial when the trigger refers to any, see Binding. An error is a
// *RejectionError, or a defect of the family.
func (t Trigger) Bind(ref *externalscaler.ScaledObjectRef, creds *contract.Credentials) (b *Binding, err error) {
	defer defect.Recovered("bind", &err)
	return t.bind(Request{Ref: ref}, creds)
}

// Describe says what the trigger type is: the part of the answer to the rpc of
// that name.
func (t Trigger) Describe() *scalerv1.TriggerType { return t.description }

// OfObject is true when the answer depends on which object asks.
func (t Trigger) OfObject() bool { return t.ofObject }

// Describe says what a family serves.
func Describe(family, version string, triggers []Trigger) *scalerv1.DescribeResponse {
	described := &scalerv1.DescribeResponse{Family: family, Version: version}
	for _, t := range triggers {
		described.TriggerTypes = append(described.TriggerTypes, t.description)
	}
	return described
}

// Option changes what Define assumes of a trigger type.
type Option func(*traits)

// traits is what a trigger type is like beyond its parameters.
type traits struct {
	noData        contract.NoDataRule
	detection     scalerv1.Detection
	detectionCost string
	passThrough   bool
}

// OnNoData sets the documented rule of a trigger type.
func OnNoData(rule contract.NoDataRule) Option { return func(t *traits) { t.noData = rule } }

// RingsAt announces that sources of the type are Ringers and what ringing
// costs the backend and which permission it needs, in one line.
func RingsAt(cost string) Option {
	return func(t *traits) {
		t.detection, t.detectionCost = scalerv1.Detection_DETECTION_DOORBELL, cost
	}
}

// Scheduled announces that sources of the type are Timed.
func Scheduled() Option {
	return func(t *traits) { t.detection = scalerv1.Detection_DETECTION_TIMER }
}

// PassesThrough accepts every metadata key, because the source behind it reads
// them from Object.Metadata.
func PassesThrough() Option { return func(t *traits) { t.passThrough = true } }
