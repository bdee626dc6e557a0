package plan

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// TestThresholds has what triggers scale by found in their metadata.
func TestThresholds(t *testing.T) {
	for name, tt := range map[string]struct {
		trigger string
		want    Threshold
		problem string
	}{
		"given":             {trigger: "type: kafka, metadata: {lagThreshold: '50', activationLagThreshold: '7'}", want: Threshold{50, 7}},
		"by default":        {trigger: "type: kafka, metadata: {topic: a}", want: Threshold{10, 0}},
		"one of two":        {trigger: "type: rabbitmq, metadata: {queueLength: '20'}", want: Threshold{20, 0}},
		"both of two":       {trigger: "type: rabbitmq, metadata: {queueLength: '20', value: '5'}", problem: "value, queueLength: which of them counts follows from other parameters; --target 0=<target>[:<activation>] says"},
		"neither":           {trigger: "type: rabbitmq, metadata: {queueName: a}", problem: "value or queueLength: missing"},
		"by something else": {trigger: "type: redis-streams, metadata: {lagCount: '5'}", problem: "lagCount: --target 0="},
		"a schedule":        {trigger: "type: cron, metadata: {desiredReplicas: '5'}", want: Threshold{1, 0}},
		"no number":         {trigger: "type: kafka, metadata: {lagThreshold: many}", problem: `lagThreshold: "many" is not a number`},
		"zero":              {trigger: "type: kafka, metadata: {lagThreshold: '0'}", problem: "the target is not greater than 0"},
		"an external one":   {trigger: "type: external, metadata: {scalerAddress: a}", problem: "its metadata does not say the target"},
		"of nobody":         {trigger: "type: nobody, metadata: {a: b}", problem: "no family of this version serves the type"},
	} {
		t.Run(name, func(t *testing.T) {
			s := side(t, "triggers: [{"+tt.trigger+"}]")
			have, err := s.threshold(0)
			if tt.problem == "" && (err != nil || have != tt.want) || tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
				t.Errorf("%+v, %v", have, err)
			}
			if tt.problem != "" {
				s.Thresholds = map[int]Threshold{0: {20, 3}}
				if have, err := s.threshold(0); err != nil || have != (Threshold{20, 3}) {
					t.Errorf("given: %+v, %v", have, err)
				}
			}
		})
	}
}

// TestEveryTypeSaysWhatItScalesBy, but for those whose targets follow from more
// than a parameter.
func TestEveryTypeSaysWhatItScalesBy(t *testing.T) {
	without := map[string]bool{"cron": true, "external": true, "external-push": true}
	for _, f := range families.All() {
		for name, description := range f.Types {
			targets := 0
			for _, p := range description.GetParameters() {
				if p.GetRole() == scalerv1.ParameterRole_PARAMETER_ROLE_TARGET {
					targets++
				}
			}
			if (targets == 0) != without[name] {
				t.Errorf("%s has %d targets", name, targets)
			}
		}
	}
}

func TestParseThreshold(t *testing.T) {
	if i, have, err := ParseThreshold("2=20:5.5"); i != 2 || have != (Threshold{20, 5.5}) || err != nil {
		t.Error(i, have, err)
	}
	for _, text := range []string{"", "20", "a=5", "-1=5", "0=0", "0=NaN", "0=5:x"} {
		if _, _, err := ParseThreshold(text); err == nil {
			t.Errorf("%q is one", text)
		}
	}
}

// TestWhatCannotBeReplayed is told at once, of both sides.
func TestWhatCannotBeReplayed(t *testing.T) {
	r := recorded(map[int]float64{0: 0, 60: 5})
	r.Series["7"], r.Series["lag"] = r.Series["0"], r.Series["0"]
	before := side(t, "triggers: [{type: cpu, metricType: Utilization, metadata: {value: '50'}}], minReplicaCount: 1")
	before.Name = "today"
	after := side(t, "minReplicaCount: 5, maxReplicaCount: 3, triggers: [{type: kafka, metadata: {lagThreshold: x}}, {type: kafka, metadata: {topic: a}}]")
	_, err := Run(t.Context(), r, before, after, nil, usual)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"today: cpu and memory are measured in Pods and cannot be replayed, and the object has no other trigger",
		`today: test, trigger "0": is cpu, which is measured in Pods and cannot be replayed`,
		`spec: test, trigger "7": there is no trigger 7, the object has 2`,
		`spec: test, trigger "lag": is neither the index of a trigger, nor its name, nor that of its metric`,
		`spec: trigger 0 (kafka): lagThreshold: "x" is not a number`,
		`spec: trigger 1 (kafka): test has no values of it, only of "0", "7", "lag"`,
		"spec: minReplicaCount: 5 exceeds maxReplicaCount 3",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	// Of a rate there is one metric.
	two := side(t, "triggers: [{"+rabbitmq+"}, {"+rabbitmq+"}]")
	twice := recorded(map[int]float64{0: 0, 60: 5})
	twice.Series["1"] = twice.Series["0"]
	o := usual
	o.DrainRate = 1
	if _, err := Run(t.Context(), twice, nil, two, nil, o); err == nil || !strings.Contains(err.Error(), "--drain-rate is of one metric") {
		t.Error(err)
	}
}

// TestNames has series found by index, by a trigger's name and by a metric's.
func TestNames(t *testing.T) {
	s := side(t, "triggers: [{name: work, "+rabbitmq+"}, {"+rabbitmq+"}, {"+rabbitmq+"}]")
	points := recorded(map[int]float64{0: 0, 60: 5}).Series["0"]
	r := &Recording{From: "test", Series: map[string][]Point{"work": points, "s1-rabbitmq-orders": points, "2": points}}
	if err := s.bind(r, []string{"s0-rabbitmq-a", "s2-rabbitmq-b"}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"s0-rabbitmq-a", "s1-rabbitmq-orders", "s2-rabbitmq-b"} {
		if len(s.metrics[i]) != 1 || s.metrics[i][0].name != want {
			t.Errorf("%d: %+v", i, s.metrics[i])
		}
	}
}

// TestDifferences has it told where recorded values are not what the new spec would
// have read.
func TestDifferences(t *testing.T) {
	before := side(t, "triggers: [{type: kafka, metadata: {topic: a, lagThreshold: '5'}}]")
	after := side(t, "triggers: [{type: kafka, metadata: {topic: b, lagThreshold: '9', consumerGroup: c}}, {type: redis, metadata: {}}, {type: cpu, metadata: {}}]")
	want := "trigger 0 (kafka): consumerGroup, topic differs, so it may read other values than those that were recorded|" +
		"trigger 1 (redis) is new: the values are taken to be its own|trigger 2 (cpu) is left out: it is measured in Pods, and may ask for more"
	if have := strings.Join(differences(before.Object, after.Object), "|"); have != want {
		t.Errorf("%s\nwant %s", have, want)
	}
	if have := differences(before.Object, before.Object); have != nil {
		t.Errorf("%q", have)
	}
}

// TestOutputs: programs read the same figures, a picture is well formed whatever
// names are in it, and no longer for a month than it is wide.
func TestOutputs(t *testing.T) {
	values := map[int]float64{}
	for i := range 20_000 {
		values[i*60] = float64(i % 700)
	}
	s := side(t, "maxReplicaCount: 50")
	s.Name, s.Object.Name = "<&\x1b[2J>.yaml", `"><script>`
	report, err := Run(t.Context(), recorded(values), side(t, "maxReplicaCount: 5"), s, nil, usual)
	if err != nil {
		t.Fatal(err)
	}
	var text, encoded, picture strings.Builder
	if err := errors.Join(report.Print(&text), (&output.Format{Name: "json"}).Encode(&encoded, report), report.Picture(&picture)); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal([]byte(encoded.String()), &back); err != nil || back.After.Figures != report.After.Figures || len(back.Before.Changes) != len(report.Before.Changes) {
		t.Error(err, back.After.Figures)
	}
	if !strings.Contains(text.String(), "most replicas") || strings.Count(text.String(), "|") != 6 {
		t.Error(text.String())
	}
	decoder := xml.NewDecoder(strings.NewReader(picture.String()))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "script" {
			t.Error("a script is in the picture")
		}
	}
	if picture.Len() > 100_000 {
		t.Errorf("the picture has %d bytes", picture.Len())
	}
	var written strings.Builder
	if err := (&output.Format{Name: "yaml"}).Encode(&written, report); err != nil || !strings.Contains(written.String(), "podHours:") {
		t.Error(err, written.String())
	}
}
