package triggerpage

import (
	"os"
	"strings"
	"testing"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

func queue() *scalerv1.TriggerType {
	return &scalerv1.TriggerType{
		Type:          "queue",
		Purpose:       "Scales on the backlog of one queue.",
		Detection:     scalerv1.Detection_DETECTION_DOORBELL,
		DetectionCost: "one parked fetch",
		Parameters: []*scalerv1.Parameter{
			{
				Name: "url", Type: scalerv1.ValueType_VALUE_TYPE_STRING, Required: true, Description: "Locates the queue.",
				Sources: []scalerv1.ValueSource{scalerv1.ValueSource_VALUE_SOURCE_TRIGGER, scalerv1.ValueSource_VALUE_SOURCE_ENV},
			},
			{
				Name: "length", Aliases: []string{"queueLength"}, Type: scalerv1.ValueType_VALUE_TYPE_FLOAT, Unit: "messages",
				DefaultValue: "5", Role: scalerv1.ParameterRole_PARAMETER_ROLE_TARGET, Description: "Messages per replica.",
				Sources: []scalerv1.ValueSource{scalerv1.ValueSource_VALUE_SOURCE_TRIGGER}, Deprecated: "use value",
			},
			{
				Name: "modes", Type: scalerv1.ValueType_VALUE_TYPE_STRING_LIST, AllowedValues: []string{"a", "b"}, Description: "One | the other.",
				Sources: []scalerv1.ValueSource{scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION},
			},
		},
	}
}

func TestPage(t *testing.T) {
	got := Render("queues", queue(), "# One replica for all.\nkind: ScaledObject\n")
	want, err := os.ReadFile("testdata/queue.md")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("page:\n%s\nwant:\n%s", got, want)
	}
}

func TestPagesOfOtherKinds(t *testing.T) {
	page := Render("f", &scalerv1.TriggerType{Type: "t", Detection: scalerv1.Detection_DETECTION_TIMER, AcceptsOtherParameters: true}, "")
	for _, want := range []string{"known in advance", "None.", "All other keys are passed on"} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %q:\n%s", want, page)
		}
	}
}

// TestWhatAnExampleTakes: an identity of a cloud is trusted there, and no Secret is
// granted for it.
func TestWhatAnExampleTakes(t *testing.T) {
	const grant = "kubectl create rolebinding scaler-f -n <namespace> --clusterrole=sluice-scaler-credentials --serviceaccount=sluice-system:scaler-f"
	for name, test := range map[string]struct{ example, with, without string }{
		"nothing":    {"kind: ScaledObject", "The Deployment and the source must be there.", "rolebinding"},
		"a Secret":   {"secretTargetRef: []", grant, "clouds.md"},
		"AWS":        {"podIdentity: {provider: aws}", "[AWS](../clouds.md#aws) must trust the ServiceAccount `scaler-f`", "rolebinding"},
		"Azure":      {"podIdentity: {provider: azure-workload}", "[Azure](../clouds.md#azure)", "rolebinding"},
		"Google":     {"podIdentity: {provider: gcp}", "[Google Cloud](../clouds.md#google-cloud)", "rolebinding"},
		"ConfigMaps": {"configMapTargetRef: []", grant, "clouds.md"},
	} {
		page := Render("f", &scalerv1.TriggerType{Type: "t"}, test.example)
		if !strings.Contains(page, test.with) || strings.Contains(page, test.without) {
			t.Errorf("%s: want %q and not %q in\n%s", name, test.with, test.without, page)
		}
	}
}

func TestRequiredParametersComeFirst(t *testing.T) {
	page := Render("f", &scalerv1.TriggerType{Parameters: []*scalerv1.Parameter{{Name: "b"}, {Name: "a"}, {Name: "must", Required: true}}}, "")
	must, b, a := strings.Index(page, "`must`"), strings.Index(page, "`b`"), strings.Index(page, "`a`")
	if must < 0 || must > b || b > a {
		t.Errorf("order of parameters:\n%s", page)
	}
}

func TestIndexLeadsToEveryType(t *testing.T) {
	page := Index([]*scalerv1.DescribeResponse{
		{Family: "queues", TriggerTypes: []*scalerv1.TriggerType{queue()}},
		{Family: "clock", TriggerTypes: []*scalerv1.TriggerType{{Type: "at", Purpose: "Scales at times."}}},
	})
	at := strings.Index(page, "| [at](at.md) | `clock` | Scales at times. |")
	next := strings.Index(page, "| [queue](queue.md) | `queues` | Scales on the backlog of one queue. |")
	if at < 0 || next < at {
		t.Errorf("index:\n%s", page)
	}
}
