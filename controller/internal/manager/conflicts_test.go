package manager

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestAConflictIsAnotherLookAndNoError(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "scaledobjects"}, "orders", errors.New("modified"))
	tests := map[string]struct {
		err   error
		after time.Duration
		fails string
	}{
		"a conflict":         {err: conflict, after: afterConflict},
		"a wrapped conflict": {err: fmt.Errorf("claim: %w", conflict), after: afterConflict},
		"two conflicts":      {err: errors.Join(conflict, fmt.Errorf("status: %w", conflict)), after: afterConflict},
		"another failure":    {err: errors.New("no route"), after: time.Hour, fails: "no route"},
		"a conflict first":   {err: errors.Join(conflict, errors.New("no route")), after: time.Hour, fails: "no route"},
		"a conflict last":    {err: errors.Join(errors.New("no route"), conflict), after: time.Hour, fails: "no route"},
		"no failure":         {after: time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := againAfterConflict(admitted{reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
				return reconcile.Result{RequeueAfter: time.Hour}, tt.err
			})})
			result, err := r.Reconcile(t.Context(), reconcile.Request{})
			if (err != nil) != (tt.fails != "") || err != nil && err.Error() != tt.fails || result.RequeueAfter != tt.after {
				t.Errorf("result = %+v, error = %v", result, err)
			}
		})
	}
}
