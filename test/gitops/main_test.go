package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestHealth: what each of the conditions that Sluice writes comes to.
func TestHealth(t *testing.T) {
	for name, tt := range map[string]struct {
		kind, conditions string
		argoCD, flux     string
	}{
		"nothing written yet":  {"ScaledObject", "", "Progressing", "Current"},
		"ready":                {"ScaledObject", "Ready=True Active=False Paused=False Fallback=False", "Healthy", "Current"},
		"paused":               {"ScaledObject", "Ready=True Active=False Paused=True Fallback=False", "Suspended", "Current"},
		"in fallback":          {"ScaledObject", "Ready=True Active=True Paused=False Fallback=True", "Degraded", "Current"},
		"a trigger fails":      {"ScaledObject", "Ready=Unknown Active=True Paused=False Fallback=False", "Progressing", "InProgress"},
		"all triggers fail":    {"ScaledObject", "Ready=False Active=Unknown Paused=False Fallback=False", "Degraded", "InProgress"},
		"paused, and it fails": {"ScaledObject", "Ready=False Active=Unknown Paused=True Fallback=False", "Degraded", "InProgress"},
		"Jobs":                 {"ScaledJob", "Ready=True Active=False Paused=False", "Healthy", "Current"},
		"paused Jobs":          {"ScaledJob", "Ready=True Active=False Paused=True", "Suspended", "Current"},
		"Jobs that fail":       {"ScaledJob", "Ready=False Active=Unknown Paused=False", "Degraded", "InProgress"},
		"Jobs, in part":        {"ScaledJob", "Ready=Unknown Active=True Paused=False", "Degraded", "InProgress"},
		"an authentication":    {"TriggerAuthentication", "", "", "Current"},
	} {
		t.Run(name, func(t *testing.T) {
			var conditions []map[string]string
			for condition := range strings.FieldsSeq(tt.conditions) {
				kind, status, _ := strings.Cut(condition, "=")
				conditions = append(conditions, map[string]string{"type": kind, "status": status, "message": condition})
			}
			object := map[string]any{
				"apiVersion": "keda.sh/v1alpha1", "kind": tt.kind,
				"metadata": map[string]any{"name": "worker", "generation": 2}, "status": map[string]any{"conditions": conditions},
			}
			if conditions == nil {
				delete(object, "status")
			}
			in, err := json.Marshal(map[string]any{"items": []any{object}})
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := run(strings.NewReader(string(in)), &out); err != nil {
				t.Fatal(err)
			}
			var have []Health
			if err := json.Unmarshal([]byte(out.String()), &have); err != nil || len(have) != 1 {
				t.Fatal(out.String(), err)
			}
			if h := have[0]; h.ArgoCD != tt.argoCD || h.Flux != tt.flux {
				t.Errorf("%s, want Argo CD %s, Flux %s", fmt.Sprintf("%+v", h), tt.argoCD, tt.flux)
			}
		})
	}
}

func TestWhatIsNoObjectIsRefused(t *testing.T) {
	for _, in := range []string{"{", `{"items": [{"metadata": {}}]}`} {
		if err := run(strings.NewReader(in), &strings.Builder{}); err == nil {
			t.Errorf("%s: no error", in)
		}
	}
}
