package manager

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	uberzap "go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// counted is a value that counts how often it is encoded.
type counted struct{ times *int }

func (c counted) MarshalLogObject(e zapcore.ObjectEncoder) error {
	*c.times++
	e.AddString("name", "worker")
	return nil
}

func TestLoggersEncodeWhatTheySay(t *testing.T) {
	var out strings.Builder
	log := zap.New(zap.WriteTo(&out), zap.RawZapOpts(uberzap.WrapCore(lazily)))
	times := 0
	first := log.WithValues("object", counted{&times}, "namespace", "shop")
	second := first.WithName("scaler").WithValues("pass", 1)
	third := first.WithValues("pass", 2)
	second.V(1).Info("nobody listens")
	if times != 0 || out.Len() != 0 {
		t.Errorf("encoded %d times and wrote %q for nothing", times, out.String())
	}
	third.Info("scaled", "replicas", 3)
	second.Error(nil, "failed")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("wrote %q", out.String())
	}
	for i, wants := range [][]string{
		{`"msg":"scaled"`, `"object":{"name":"worker"}`, `"namespace":"shop"`, `"pass":2`, `"replicas":3`},
		{`"msg":"failed"`, `"logger":"scaler"`, `"object":{"name":"worker"}`, `"namespace":"shop"`, `"pass":1`},
	} {
		for _, want := range wants {
			if strings.Count(lines[i], want) != 1 {
				t.Errorf("line %s, want %s once", lines[i], want)
			}
		}
	}
}

// TestAConflictIsNoErrorInTheLog has a library tell of a write that somebody else
// was faster with.
func TestAConflictIsNoErrorInTheLog(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, "operator.keda.sh", errors.New("modified"))
	for level, want := range map[zapcore.Level]string{zapcore.InfoLevel: "", zapcore.DebugLevel: `"level":"debug"`} {
		var out strings.Builder
		log := zap.New(zap.WriteTo(&out), zap.Level(level), zap.RawZapOpts(uberzap.WrapCore(lazily)))
		log.Error(fmt.Errorf("claim: %w", conflict), "Failed to update lease")
		if got := out.String(); want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, "stacktrace") {
			t.Errorf("at level %s: wrote %q", level, got)
		}
		for _, other := range []error{errors.New("no route"), errors.Join(conflict, errors.New("no route"))} {
			out.Reset()
			log.Error(other, "Failed to update lease")
			if got := out.String(); !strings.Contains(got, `"level":"error"`) || !strings.Contains(got, "no route") {
				t.Errorf("at level %s, %v: wrote %q", level, other, got)
			}
		}
	}
}
