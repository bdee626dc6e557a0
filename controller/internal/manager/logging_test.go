package manager

import (
	"strings"
	"testing"

	uberzap "go.uber.org/zap"
	"go.uber.org/zap/zapcore"
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
