package coldstart

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// TestNothingIsZero: what was not measured, is not told or cannot be measured has no
// number, neither for people nor for programs.
func TestNothingIsZero(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	measured := &account.ColdStart{Arrived: noon, Told: true, Written: noon.Add(400 * time.Millisecond), Ready: noon.Add(13 * time.Second), Seconds: 13}
	object := func(kind, version string, least, idle *int32) *v1alpha1.ScaledObject {
		return &v1alpha1.ScaledObject{Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "a", Kind: kind, APIVersion: version}, MinReplicaCount: least, IdleReplicaCount: idle,
		}}
	}
	for name, tt := range map[string]struct {
		last         Last
		short, words string
		number       bool
	}{
		"nobody tells":       {Of(object("", "", nil, nil)), "-", "", false},
		"none yet":           {Of(object("", "", nil, nil)).With(nil), "none yet", "none measured yet since this controller leads", false},
		"never at zero":      {Of(object("", "", ptr.To[int32](2), nil)).With(nil), "none", "none measured: it rests at 2, and not at 0", false},
		"at zero while idle": {Of(object("StatefulSet", "apps/v1", ptr.To[int32](2), new(int32))).With(nil), "none yet", "none measured yet", false},
		"of another kind":    {Of(object("Rollout", "argoproj.io/v1alpha1", nil, nil)).With(nil), "-", "not measured: how many Pods of a Rollout are ready is not known", false},
		"a namesake":         {Of(object("Deployment", "example.com/v1", nil, nil)).With(nil), "-", "not measured", false},
		"measured": {
			Of(object("", "", nil, nil)).With(measured), "13s",
			"13s from work to the first ready replica, at 12:00:13 UTC: work came at 12:00:00 UTC, as its source says; replicas were written 400ms later, and the first was ready 13s after that", true,
		},
		"measured before it rested higher": {Of(object("", "", ptr.To[int32](2), nil)).With(measured), "13s", "13s from work", true},
	} {
		t.Run(name, func(t *testing.T) {
			if have := tt.last.Short(); have != tt.short {
				t.Errorf("%q, want %q", have, tt.short)
			}
			if have := tt.last.Words(); !strings.HasPrefix(have, tt.words) || (have == "") != (tt.words == "") {
				t.Errorf("%q, want %q", have, tt.words)
			}
			text, err := json.Marshal(tt.last)
			if err != nil || strings.Contains(string(text), `"seconds"`) != tt.number {
				t.Errorf("%s, %v", text, err)
			}
		})
	}
	read := *measured
	read.Told = false
	if have := Of(object("", "", nil, nil)).With(&read).Words(); !strings.Contains(have, "that is when it was read") {
		t.Error(have)
	}
	read.Seconds = 0.4217
	if have := Of(object("", "", nil, nil)).With(&read).Short(); have != "420ms" {
		t.Error(have)
	}
}
