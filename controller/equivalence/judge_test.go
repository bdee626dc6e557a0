package equivalence

import (
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// worker agrees: it was read, and the HPA was told the same.
func worker(change ...func(*Object)) Object {
	o := Object{
		Kind: "ScaledObject", Namespace: "shop", Name: "worker", Patience: 75,
		Triggers: []Trigger{{Type: "kafka", Outcome: "value"}},
		Metrics: []Metric{{
			Name: "s0-kafka-orders", Value: ptr.To(10.0), Lowest: ptr.To(10.0), Highest: ptr.To(10.0), Target: 5, Kind: "AverageValue", Active: true,
			Theirs: &Reported{Value: 10},
		}},
		HPA:      &HPA{Min: 1, Max: 100, Current: 2, Desired: 2, Asks: []Asked{{Name: "s0-kafka-orders", Target: 5, Kind: "AverageValue"}}},
		Replicas: ptr.To[int32](2), Active: "True", Theirs: "True", TheirReady: "True",
	}
	for _, c := range change {
		c(&o)
	}
	return o
}

func told(v, slack float64) func(*Object) {
	return func(o *Object) { o.Metrics[0].Theirs = &Reported{v, slack} }
}

func failing(fault Reason) func(*Object) {
	return func(o *Object) {
		o.Triggers[0] = Trigger{Type: "kafka", Outcome: "error", Fault: fault, Error: "why it fails"}
		o.Metrics[0].Value, o.Metrics[0].Lowest, o.Metrics[0].Highest = nil, nil, nil
	}
}

func TestVerdicts(t *testing.T) {
	for name, tt := range map[string]struct {
		object Object
		// after is how long it has to last, 0 for at once.
		after   time.Duration
		verdict Verdict
		reason  Reason
		text    string
	}{
		"the same": {object: worker(), verdict: Agrees},
		"within what was read lately": {
			object: worker(told(14, 0), func(o *Object) { o.Metrics[0].Highest = ptr.To(20.0) }), verdict: Agrees,
		},
		"an average that was rounded up":  {object: worker(told(10.002, 0.003)), verdict: Agrees},
		"another number":                  {object: worker(told(13, 0)), after: moments, verdict: Differs, reason: Value, text: "the HPA was told 13, read here is 10"},
		"a fraction that was cut off":     {object: worker(told(9, 0), reads(9.7)), after: moments, verdict: Differs, reason: Rounding},
		"a large number but for a little": {object: worker(told(100_000, 0), reads(100_200)), after: moments, verdict: Differs, reason: Rounding},
		"small numbers that are not the same": {
			object: worker(told(0.5, 0), reads(0.9)), after: moments, verdict: Differs, reason: Value,
		},
		"no data here, a number there": {object: worker(func(o *Object) {
			o.Triggers[0].Outcome, o.Metrics[0].Value, o.Metrics[0].Lowest, o.Metrics[0].Highest = "no data", nil, nil, nil
		}), verdict: Agrees},
		"a missing grant":           {object: worker(failing(MissingGrant)), verdict: Differs, reason: MissingGrant, text: "why it fails"},
		"a missing family":          {object: worker(failing(MissingFamily)), verdict: Differs, reason: MissingFamily},
		"a source that fails":       {object: worker(failing(Source)), after: 75 * time.Second, verdict: Differs, reason: Source},
		"a source that fails both":  {object: worker(failing(Source), func(o *Object) { o.TheirReady = "False" }), verdict: Agrees},
		"a trigger that is refused": {object: worker(failing(Refused)), verdict: NotServed, reason: Refused},
		"an object that is wrong":   {object: worker(func(o *Object) { o.Problem = "minReplicaCount: wrong" }), verdict: NotServed, reason: Refused, text: "minReplicaCount: wrong"},
		"not read yet":              {object: worker(func(o *Object) { o.Triggers[0].Outcome = "pending" }), verdict: Unknown},
		"not decided yet":           {object: worker(func(o *Object) { o.Active = "" }), verdict: Unknown},
		"activity":                  {object: worker(func(o *Object) { o.Theirs = "False" }), after: 75 * time.Second, verdict: Differs, reason: Activity, text: "condition Active is False"},
		"activity that is not said": {object: worker(func(o *Object) { o.Theirs = "Unknown" }), verdict: Agrees},
		"a write that the other does not make": {
			object: worker(func(o *Object) { o.Would = ptr.To[int32](0) }), after: 75 * time.Second, verdict: Differs, reason: Replicas,
			text: "0 replicas would be written, the target has 2",
		},
		"Jobs that the other does not start": {
			object: worker(func(o *Object) { o.Kind, o.HPA, o.Would = "ScaledJob", nil, ptr.To[int32](3) }), after: 75 * time.Second,
			verdict: Differs, reason: Replicas, text: "3 more Jobs would be started, 2 run",
		},
		"another target":     {object: worker(func(o *Object) { o.HPA.Asks[0].Target = 7 }), after: moments, verdict: Differs, reason: Target, text: "the HPA's target is 7 (AverageValue), and would be 5"},
		"other limits":       {object: worker(func(o *Object) { o.HPA.OtherMin, o.HPA.OtherMax = 1, 50 }), after: moments, verdict: Differs, reason: Target, text: "from 1 to 100, and would from 1 to 50"},
		"a metric too many":  {object: worker(func(o *Object) { o.HPA.Asks = append(o.HPA.Asks, Asked{Name: "s1-cron"}) }), after: moments, verdict: Differs, reason: Metrics, text: "asks for it, and would not"},
		"a metric under way": {object: worker(func(o *Object) { o.HPA.Asks = nil }), after: moments, verdict: Differs, reason: Metrics, text: "does not ask for it"},
		"paused":             {object: worker(func(o *Object) { o.Paused, o.Triggers, o.Metrics, o.Active, o.HPA.Asks = true, nil, nil, "", nil }), verdict: Agrees},
	} {
		t.Run(name, func(t *testing.T) {
			o := tt.object
			o.Judge(start)
			if tt.after > 0 {
				if o.Verdict != Unknown || len(o.Differences) > 0 {
					t.Fatalf("%s at once: %v", o.Verdict, o.Differences)
				}
				o.Judge(start.Add(tt.after - time.Second))
				if o.Verdict != Unknown {
					t.Fatalf("%s too early", o.Verdict)
				}
				o.Judge(start.Add(tt.after))
			}
			if o.Verdict != tt.verdict {
				t.Errorf("%s, want %s: %v", o.Verdict, tt.verdict, o.Differences)
			}
			if tt.reason == "" {
				if len(o.Differences) > 0 {
					t.Errorf("differs: %v", o.Differences)
				}
				return
			}
			if len(o.Differences) != 1 || o.Differences[0].Reason != tt.reason || !strings.Contains(o.Differences[0].Text, tt.text) || !o.Differences[0].Since.Equal(start) {
				t.Errorf("differences %+v, want %s: %s", o.Differences, tt.reason, tt.text)
			}
		})
	}
}

func reads(v float64) func(*Object) {
	return func(o *Object) {
		o.Metrics[0].Value, o.Metrics[0].Lowest, o.Metrics[0].Highest = &v, &v, &v
	}
}

func TestDifferencesThatAreOverAreRemembered(t *testing.T) {
	o := worker(told(13, 0))
	for i := range mostPast + 2 {
		at := start.Add(time.Duration(i) * time.Hour)
		told(13, 0)(&o)
		o.Judge(at)
		told(10, 0)(&o)
		o.Judge(at.Add(time.Second)) // a matter of moments
		told(13, 0)(&o)
		o.Judge(at.Add(2 * time.Second))
		o.Judge(at.Add(time.Minute))
		if o.Verdict != Differs {
			t.Fatalf("%s", o.Verdict)
		}
		kept := o.Past
		told(10, 0)(&o)
		o.Judge(at.Add(2 * time.Minute))
		if o.Verdict != Agrees || len(o.Past) != min(i+1, mostPast) {
			t.Fatalf("%s with %d differences that are over", o.Verdict, len(o.Past))
		}
		if latest := o.Past[0]; !latest.Since.Equal(at.Add(2*time.Second)) || !latest.Until.Equal(at.Add(2*time.Minute)) {
			t.Errorf("%+v", latest)
		}
		if len(kept) > 0 && kept[0].Until.Equal(o.Past[0].Until) {
			t.Error("what was told before has changed")
		}
	}
}

func TestTextsAreShort(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", MostText+1), strings.Repeat("ä", MostText)} {
		if short := Shorten(text); len(short) > MostText || !strings.HasSuffix(short, "...") || strings.ToValidUTF8(short, "?") != short {
			t.Errorf("%d bytes: %q", len(short), short)
		}
	}
	if text := strings.Repeat("x", MostText); Shorten(text) != text {
		t.Error("cut although it is short")
	}
}
