package trigger

import (
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FuzzMetadata proves that no metadata do harm: they make a binding with
// finite metrics, or one InvalidArgument of one line that shows no secret.
func FuzzMetadata(f *testing.F) {
	for _, lines := range []string{
		"", "queueLength=5\nactivationQueueLength=1e3", "queueLength=many\nlimits=1-x", "limits=1,5-9\nlabels=a=b,c=d\nextra=a=b&c=%zz",
		"limits=0-2000000000", "timeout=-9223372036854775808", "modes=basic,bearer\nwords=a;;b\nold=x\nfading=y\nunknown=z", "serversFromEnv=S\nservers=",
		"queueName=\xff/.:%()\nqueue=b", "sluice.dev/metricType=Value\nsluice.dev/env={\"S\":{\"value\":\"$(S)\"}}\nqueueNameFromEnv=S",
		"sluice.dev/env={", "sluice.dev/pollingInterval=-1\nsluice.dev/triggerIndex=x\nsluice.dev/metricSource=maybe", "queueLength=NaN\nsmall=99999999999",
	} {
		f.Add(lines, "hunter2")
	}
	f.Fuzz(func(t *testing.T, lines, secret string) {
		metadata := map[string]string{}
		for line := range strings.SplitSeq(lines, "\n") {
			key, text, _ := strings.Cut(line, "=")
			metadata[key] = text
		}
		planted := "planted" + secret
		metadata["token"] = planted
		creds := &contract.Credentials{Parameters: map[string]string{"username": planted, "password": planted, "small": planted}, Env: map[string]string{"V": planted}}
		for _, creds := range []*contract.Credentials{nil, creds} {
			_, b, err := bound(t, metadata, creds)
			if err != nil {
				text := status.Convert(err).Message()
				if status.Code(err) != codes.InvalidArgument || strings.Contains(text, planted) && !strings.Contains(lines, planted) {
					t.Errorf("error %q", text)
				}
				continue
			}
			for _, m := range b.Metrics {
				if err := checkTarget(m.Target); err != nil && !b.Object.MetricSource || strings.ContainsAny(m.Name, "/.:%()") {
					t.Errorf("metric %+v, %v", m, err)
				}
			}
		}
	})
}
