package federation

import (
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/controller/kept"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// told is counted for the variables of a trigger, for as long as somebody has it.
type told struct{ env map[string]scalerv1.EnvVar }

// Hold counts what a trigger tells of its workload's variables, of which each
// trigger has texts of its own, for as long as somebody has it. Where there is no
// room it tells nothing and is one whose workload was not read. It reports whether
// there was room. A nil Budget counts nothing.
func (t *Trigger) Hold(b *kept.Budget) bool {
	if b == nil {
		return true
	}
	t.told = &told{t.Env}
	var err error
	if len(t.Env) > 0 {
		err = kept.Hold(b, t.told, t.Namespace, t.String(), kept.Size(t.Env))
	}
	if err == nil && len(t.Containers) > 0 { // all triggers of an object have the same
		err = kept.Hold(b, &t.Containers[0], t.Namespace, t.Kind+"/"+t.Name, kept.Size(t.Containers))
	}
	if err != nil {
		t.Env, t.Containers, t.told = nil, nil, nil
		t.Unread = coded(codes.ResourceExhausted, "variables that families are told: %v", err)
	}
	return err == nil
}
