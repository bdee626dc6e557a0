package scaling

import (
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

func TestBuiltin(t *testing.T) {
	trigger := func(how autoscalingv2.MetricTargetType, metadata ...string) v1alpha1.ScaleTrigger {
		m := map[string]string{}
		for i := 0; i < len(metadata); i += 2 {
			m[metadata[i]] = metadata[i+1]
		}
		return v1alpha1.ScaleTrigger{Type: "cpu", MetricType: how, Metadata: m}
	}
	tests := map[string]struct {
		trigger v1alpha1.ScaleTrigger
		problem string
	}{
		"percentage":            {trigger: trigger("Utilization", "value", "60")},
		"quantity":              {trigger: trigger("AverageValue", "value", "500m")},
		"missing":               {trigger("Utilization"), "value: missing"},
		"fraction of a percent": {trigger("Utilization", "value", "60.5"), `value: "60.5" is not a whole percentage greater than 0`},
		"zero":                  {trigger("Utilization", "value", "0"), `value: "0" is not a whole percentage greater than 0`},
		"a negative percentage": {trigger("Utilization", "value", "-60"), `value: "-60" is not a whole percentage greater than 0`},
		"more than 32 bits":     {trigger("Utilization", "value", "3000000000"), `value: "3000000000" is not a whole percentage greater than 0`},
		"a quantity of zero":    {trigger("AverageValue", "value", "0"), `value: "0" is not a quantity greater than 0, such as 500m or 512Mi`},
		"a quantity for hours":  {trigger("AverageValue", "value", "1e-999999999"), `value: "1e-999999999" is out of range`},
		"a negative quantity":   {trigger("AverageValue", "value", "-1Gi"), `value: "-1Gi" is not a quantity greater than 0, such as 500m or 512Mi`},
		"Value":                 {trigger("Value", "value", "60"), `metricType: "Value" is neither Utilization nor AverageValue`},
		"no quantity":           {trigger("AverageValue", "value", "half"), `value: "half" is not a quantity greater than 0, such as 500m or 512Mi`},
		"no type":               {trigger("", "value", "60"), "metricType: missing, use Utilization or AverageValue"},
		"as of old":             {trigger("", "type", "Utilization", "value", "60"), "metadata.type: was removed: delete it and write metricType: Utilization beside metadata"},
		"as of old, a quantity": {trigger("", "type", "AverageValue", "value", "1"), "metadata.type: was removed: delete it and write metricType: AverageValue beside metadata"},
		"as of old, and as now": {trigger("AverageValue", "type", "Value", "value", "1"), "metadata.type: was removed: delete it, metricType: AverageValue is enough"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			spec, err := Builtin(tt.trigger)
			if tt.problem == "" {
				if err != nil || spec.Resource == nil {
					t.Errorf("%+v, %v", spec, err)
				}
				return
			}
			if err == nil || err.Error() != tt.problem {
				t.Errorf("error %v, want %q", err, tt.problem)
			}
		})
	}
}
