package manager

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// afterConflict is when an object is looked at again after somebody else wrote
// it first: by then the cache shows what they wrote.
const afterConflict = 50 * time.Millisecond

// againAfterConflict makes of a conflict of writes another look, soon. Somebody
// who was faster is no error to be logged or counted; what failed beside it is.
func againAfterConflict(r admitting) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		result, err := r.Reconcile(ctx, request)
		others := withoutConflicts(err)
		if err != nil && others == nil {
			return reconcile.Result{RequeueAfter: afterConflict}, nil
		}
		return result, others
	})
}

// withoutConflicts is what is left of an error, which may be several joined.
func withoutConflicts(err error) error {
	several, joined := err.(interface{ Unwrap() []error }) // of what is wrapped, the rest of the text would be lost
	switch {
	case joined:
		var others []error
		for _, one := range several.Unwrap() {
			others = append(others, withoutConflicts(one))
		}
		return errors.Join(others...)
	case apierrors.IsConflict(err):
		return nil
	}
	return err
}
