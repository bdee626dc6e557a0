package manager

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// afterConflict is when an object is looked at again after somebody else wrote
// it first: by then the cache shows what they wrote.
const afterConflict = 50 * time.Millisecond

// againAfterConflict makes of a conflict of writes another look, soon. Somebody
// who was faster is no error to be logged or counted.
func againAfterConflict(r reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		result, err := r.Reconcile(ctx, request)
		if apierrors.IsConflict(err) {
			return reconcile.Result{RequeueAfter: afterConflict}, nil
		}
		return result, err
	})
}
