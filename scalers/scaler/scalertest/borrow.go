package scalertest

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// KeepsItsIdentity has a trigger lead the family's own identity to a thief: it
// is told which flag would make an exception, and nobody is sent anything. With
// an identity that is none, the metadata asks for the family's.
func (f *Family) KeepsItsIdentity(t *testing.T, triggerType string, id scaler.PodIdentity, metadata map[string]string) {
	t.Helper()
	if id.Provider != "" {
		f = f.WithPodIdentity(id)
	}
	_, err := f.Observe(t.Context(), triggerType, metadata)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), lending.HostsFlag) {
		t.Errorf("%s: error = %v, want InvalidArgument that names %s", triggerType, err, lending.HostsFlag)
	}
}
