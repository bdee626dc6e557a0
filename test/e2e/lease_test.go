package e2e

import (
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// leaseHolder is who holds the controllers' lease.
func leaseHolder(t testing.TB) string {
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

// leader is the controller that decides: the name of the lease's holder starts
// with the Pod's.
func leader(t testing.TB) *localcluster.Instance {
	t.Helper()
	holder := leaseHolder(t)
	for _, i := range world.cluster.Instances("controller") {
		if strings.HasPrefix(holder, i.Name()) {
			return i
		}
	}
	t.Fatalf("no controller instance holds the lease, %q does", holder)
	return nil
}
