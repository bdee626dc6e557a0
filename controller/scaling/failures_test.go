package scaling

import (
	"testing"
	"time"
)

func TestFailures(t *testing.T) {
	const interval = 30 * time.Second
	type step struct {
		at   time.Duration
		ok   bool
		want int32
	}
	tests := map[string][]step{
		"the first counts at once":           {{0, false, 1}},
		"many within an interval are one":    {{0, false, 1}, {time.Second, false, 1}, {29 * time.Second, false, 1}},
		"each interval counts one":           {{0, false, 1}, {30 * time.Second, false, 2}, {60 * time.Second, false, 3}},
		"late looks do not delay the next":   {{0, false, 1}, {59 * time.Second, false, 2}, {60 * time.Second, false, 3}},
		"skipped reads count":                {{0, false, 1}, {5 * time.Minute, false, 11}},
		"a success resets":                   {{0, false, 1}, {30 * time.Second, false, 2}, {31 * time.Second, true, 0}, {5 * time.Minute, false, 1}},
		"flapping within an interval is one": {{0, false, 1}, {time.Second, true, 0}, {2 * time.Second, false, 0}, {30 * time.Second, false, 1}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var f Failures
			for i, s := range steps {
				if s.ok {
					f = f.Succeeded()
				} else {
					f = f.Failed(t0.Add(s.at), interval)
				}
				if f.Count != s.want {
					t.Errorf("step %d: %d failures, want %d", i, f.Count, s.want)
				}
			}
		})
	}
}

func TestSeededFailuresGoOn(t *testing.T) {
	since := t0.Add(-time.Hour)
	f := SeedFailures(3, since, t0)
	if f = f.Failed(t0.Add(time.Second), 30*time.Second); f.Count != 3 {
		t.Errorf("counted before its interval: %d", f.Count)
	}
	if f = f.Failed(t0.Add(30*time.Second), 30*time.Second); f.Count != 4 || !f.Since.Equal(since) {
		t.Errorf("%+v", f)
	}
	if f = SeedFailures(0, since, t0); f != (Failures{}) {
		t.Errorf("no failures: %+v", f)
	}
}

func TestDoorbellsReadsDoNotCount(t *testing.T) {
	regular := t0.Add(10 * time.Second)
	in := given(triggers(changed(fails(0, 0), func(t *Trigger) { t.CountsFrom = regular })), withFallback(0, 6, ""))
	d := Decide(in)
	if d.Verdicts[0].Failures.Count != 0 || d.Verdicts[0].Fallback || d.Write != nil || !d.Next.Equal(regular) {
		t.Errorf("verdict %+v, write %v, next %v", d.Verdicts[0], d.Write, d.Next)
	}
	in.Now = regular // a regular read would have told by now
	if d := Decide(in); d.Verdicts[0].Failures.Count != 1 || !d.Verdicts[0].Fallback {
		t.Errorf("verdict %+v", d.Verdicts[0])
	}
}
