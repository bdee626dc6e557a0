package scaledjob

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
)

// TestFailuresInARow: a Job that succeeds ends the row, whichever was created
// first, and one that runs is none of it.
func TestFailuresInARow(t *testing.T) {
	for name, tt := range map[string]struct {
		// how the Jobs ended, the oldest end first; "" runs.
		how  []batchv1.JobConditionType
		want int
	}{
		"none":                   {nil, 0},
		"all":                    {[]batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobFailed}, 2},
		"the last one went well": {[]batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobFailed, batchv1.JobComplete}, 0},
		"since one that did":     {[]batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailed, batchv1.JobFailed}, 2},
		"another one runs":       {[]batchv1.JobConditionType{batchv1.JobFailed, ""}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := ledger{jobs: map[string]*entry{"gone": {}}}
			for i, how := range tt.how {
				at := time.Unix(int64(i), 0)
				name := string(rune('z' - i))
				l.jobs[name] = &entry{object: &seen{name: name, how: how, ended: at, created: time.Unix(int64(-i), 0)}}
			}
			if n := l.failures(); n != tt.want {
				t.Errorf("%d, want %d", n, tt.want)
			}
		})
	}
}
