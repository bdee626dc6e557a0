package attacks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// unharmed fails when a process ended, or needed more memory than it may have.
func unharmed(t *testing.T) {
	t.Helper()
	if err := checkProcesses(); err != nil {
		t.Error(err)
	}
}

func checkProcesses() error {
	var errs []error
	for _, instance := range world.cluster.Instances("") {
		if n := instance.Restarts(); n > 0 {
			errs = append(errs, fmt.Errorf("%s ended %d times:\n%s", instance.Name(), n, instance.LogTail(5)))
			continue
		}
		peak, err := peakMemory(instance)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", instance.Name(), err))
		}
		if peak > instance.MemoryLimit() {
			errs = append(errs, fmt.Errorf("%s took %d MiB, its limit is %d MiB", instance.Name(), peak>>20, instance.MemoryLimit()>>20))
		}
	}
	return errors.Join(errs...)
}

// peakMemory is the most that was ever resident of a process.
//
// Source: proc_pid_status(5).
func peakMemory(instance *localcluster.Instance) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", instance.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, errors.New("its status has no VmHWM")
}

// token is how every token of a ServiceAccount begins.
const token = "eyJhbGciOi"

// checkSecrets looks for secrets wherever an enemy could read them: what their
// servers heard, what the API tells, and the logs.
func checkSecrets() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	look := func(where string, text []byte, secrets ...string) {
		for _, secret := range secrets {
			if at := bytes.Index(text, []byte(secret)); at >= 0 {
				errs = append(errs, fmt.Errorf("%s: %q", where, text[max(0, at-200):min(len(text), at+100)]))
			}
		}
	}
	for _, s := range world.servers.all {
		look("the server "+s.address()+" heard", s.text(), marked, token)
	}
	for _, instance := range world.cluster.Instances("") {
		log, err := os.ReadFile(instance.LogFile())
		errs = append(errs, err)
		look("log of "+instance.Name(), log, marked, token)
	}
	for _, kind := range []string{
		"v1/Event", "keda.sh/v1alpha1/ScaledObject", "keda.sh/v1alpha1/ScaledJob", "eventing.keda.sh/v1alpha1/CloudEventSource",
		"keda.sh/v1alpha1/TriggerAuthentication", "autoscaling/v2/HorizontalPodAutoscaler",
	} {
		text, err := listed(ctx, kind)
		errs = append(errs, err)
		look(kind, text, marked, token)
	}
	return errors.Join(errs...)
}

// listed is all that the API tells of one kind, as JSON.
func listed(ctx context.Context, kind string) ([]byte, error) {
	at := strings.LastIndex(kind, "/")
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(kind[:at])
	list.SetKind(kind[at+1:] + "List")
	if err := world.cluster.Client().List(ctx, list); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return json.Marshal(list)
}
