package e2e

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// leaseHolder is who holds the controllers' lease.
func leaseHolder(t *testing.T) string {
	t.Helper()
	lease := &coordinationv1.Lease{}
	wait(t, "a lease with a holder", func() (bool, string) {
		err := world.cluster.Client().Get(t.Context(), client.ObjectKey{Namespace: "sluice-system", Name: "operator.keda.sh"}, lease)
		if err != nil {
			return false, err.Error()
		}
		return lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "", "none"
	})
	return *lease.Spec.HolderIdentity
}
