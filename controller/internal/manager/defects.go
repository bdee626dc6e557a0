package manager

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
)

// admitting is a reconciler whose panics are told. No other is run.
type admitting interface {
	reconcile.Reconciler
	admits()
}

// reportingPanics has an object say that a panic of ours ended what was being
// done for it. It is tried again like any other failure.
type reportingPanics struct {
	reconcile.Reconciler
	doing string
	// tell writes the defect into the object.
	tell tellPanic
}

// tellPanic tells of an object that a panic ended what was being done for it.
type tellPanic = func(context.Context, types.NamespacedName, error) error

func (reportingPanics) admits() {}

// Reconcile passes a request on.
func (d reportingPanics) Reconcile(ctx context.Context, request reconcile.Request) (result reconcile.Result, err error) {
	err = guard.Call(d.doing, request.String(), func() (err error) {
		result, err = d.Reconciler.Reconcile(ctx, request)
		return err
	})
	var defect *guard.Error
	if !errors.As(err, &defect) {
		return result, err
	}
	told := guard.Call(d.doing, request.String(), func() error { return d.tell(ctx, request.NamespacedName, defect) })
	return reconcile.Result{}, errors.Join(err, client.IgnoreNotFound(told))
}

// inScaledObject writes a defect into a ScaledObject.
func inScaledObject(
	objects client.Reader, write func(context.Context, *v1alpha1.ScaledObject, error) error,
) tellPanic {
	return func(ctx context.Context, key types.NamespacedName, defect error) error {
		so := &v1alpha1.ScaledObject{}
		if err := objects.Get(ctx, key, so); err != nil {
			return err
		}
		return write(ctx, so, defect)
	}
}

// byLeader tells where this controller leads: every one of them subscribes.
func byLeader(leads func() bool, tell func(context.Context, types.NamespacedName, error) error) tellPanic {
	return func(ctx context.Context, key types.NamespacedName, defect error) error {
		if !leads() {
			return nil
		}
		return tell(ctx, key, defect)
	}
}

// inMetrics is for what no object can say from there: the defect is counted in
// sluice_panics_total, as all are.
func inMetrics(context.Context, types.NamespacedName, error) error { return nil }

// notReconciled writes that the HPA of an object was not seen to.
func notReconciled(w *status.Writer) func(context.Context, *v1alpha1.ScaledObject, error) error {
	return func(ctx context.Context, so *v1alpha1.ScaledObject, defect error) error {
		_, err := w.Reconciled(ctx, so, status.Reconciled{Err: defect})
		return err
	}
}
