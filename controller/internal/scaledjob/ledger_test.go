package scaledjob

import (
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// To look at Jobs that are as they were makes nothing, however many they are.
func TestJobsThatAreAsTheyWereCostNothing(t *testing.T) {
	var l ledger
	var jobs []*batchv1.Job
	for i := range 1000 {
		jobs = append(jobs, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), UID: types.UID(fmt.Sprint(i)), ResourceVersion: "1"}})
	}
	look := func() { l.observe(jobs, nil, time.Time{}) }
	look()
	if made := testing.AllocsPerRun(10, look); made > 10 {
		t.Errorf("a look at %d Jobs makes %v objects", len(jobs), made)
	}
	changed := jobs[7].DeepCopy()
	changed.ResourceVersion, changed.DeletionTimestamp = "2", &metav1.Time{Time: began}
	jobs[7] = changed
	if look(); !l.jobs["7"].object.deleting || l.jobs["8"].object.deleting {
		t.Error("what changed is not seen")
	}
	jobs = append(jobs[:7], jobs[8:]...)
	if look(); l.jobs["7"].object != nil {
		t.Error("one that is gone is seen")
	}
}
