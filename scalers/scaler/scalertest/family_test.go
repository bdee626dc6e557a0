package scalertest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// tankParams is the metadata of a trigger type that reads a number from its
// own parameters.
type tankParams struct {
	// Level is what the source says.
	Level float64 `param:"level,required" from:"trigger,env,auth"`
	// Target is the level one replica should carry.
	Target float64 `param:"target" default:"5" role:"target"`
	// Activation is the activation threshold.
	Activation float64 `param:"activation" default:"0" role:"activation"`
}

func (p tankParams) Name() string { return "tank" }

type tankSource struct{ level float64 }

func (s *tankSource) Read(context.Context) ([]scaler.Reading, error) {
	if s.level == 13 {
		return nil, errors.New("tank is out of luck")
	}
	return scaler.One(s.level), nil
}

// tank scales on a number.
var tank = scaler.Define("tank", func(_ context.Context, p tankParams) (scaler.Source, error) {
	return &tankSource{p.Level}, nil
})

func TestFamilyAnswersOverGRPC(t *testing.T) {
	tests := map[string]struct {
		metadata map[string]string
		auth     map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"a value above the threshold is active": {
			metadata: map[string]string{"level": "3"},
			want:     scalertest.Observation{Value: 3, Active: true},
		},
		"a value at the threshold is not": {
			metadata: map[string]string{"level": "3", "activation": "3"},
			want:     scalertest.Observation{Value: 3},
		},
		"a parameter from an authentication object": {
			auth: map[string]string{"level": "4"},
			want: scalertest.Observation{Value: 4, Active: true},
		},
		"a negative number is emitted as zero": {
			metadata: map[string]string{"level": "-3"},
		},
		"a negative number may be above the threshold": {
			metadata: map[string]string{"level": "-3", "activation": "-4"},
			want:     scalertest.Observation{Value: 0, Active: true},
		},
		"a failure names the type": {
			metadata: map[string]string{"level": "13"},
			code:     codes.Unavailable,
			message:  "tank: tank is out of luck",
		},
		"a wrong parameter is named": {
			metadata: map[string]string{"level": "3", "target": "many"},
			code:     codes.InvalidArgument,
			message:  `tank: target: "many" is not a number`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			family := scalertest.Serve(t, tank)
			if tt.auth != nil {
				family = family.WithAuth(tt.auth)
			}
			got, err := family.Observe(t.Context(), "tank", tt.metadata)
			if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestWatchObserves(t *testing.T) {
	family := scalertest.Serve(t, tank)
	w := family.Watch(t, "tank", map[string]string{"level": "3"}, scalerv1.Mode_MODE_IDLE, time.Hour)
	o, err := w.Until(t.Context(), "activity", scalertest.Active)
	if err != nil || o.GetValues()[0].GetValue() != 3 {
		t.Errorf("observation = %v, %v", o, err)
	}
	w = family.Watch(t, "tank", map[string]string{"level": "much"}, scalerv1.Mode_MODE_IDLE, time.Hour)
	if _, err := w.Until(t.Context(), "activity", scalertest.Active); err == nil {
		t.Error("a wrong trigger was not rejected")
	}
}
