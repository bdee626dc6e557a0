package serving

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// TestCredentialsOfANamespaceAreBounded has the triggers of a namespace refer to
// much: what is too much is refused, and taken once there is room.
func TestCredentialsOfANamespaceAreBounded(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.server.core.held = pool.NewAllowance("bytes of credentials", 1000, 0)
		f.passwords.set(strings.Repeat("x", 500))
		w := f.watch(t)
		defer w.cancel()
		var ids []string
		for n := range 3 {
			ids = append(ids, w.subscribe(t, fmt.Sprint("app-", n), authenticated))
			wait(1)
		}
		wait(resolveSpread)
		for n, id := range ids {
			o := w.observation(id)
			switch refused := o.GetOutcome() == scalerv1.Outcome_OUTCOME_ERROR; {
			case refused != (n == 2):
				t.Errorf("observation %d = %v", n, o.GetStatus())
			case refused && (codes.Code(o.GetStatus().GetCode()) != codes.ResourceExhausted ||
				o.GetStatus().GetMessage() != `well: the triggers of namespace "default" would have this family hold more than 1000 bytes of credentials`):
				t.Errorf("the refusal is %v", o.GetStatus())
			}
		}
		if err := w.stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Unsubscribe{Unsubscribe: &scalerv1.Unsubscribe{Id: ids[0]}}}); err != nil {
			t.Fatal(err)
		}
		wait(3 * latestResolve)
		if o := w.observation(ids[2]); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE {
			t.Errorf("observation = %v, want a value: there is room again", o.GetStatus())
		}
	})
}

// TestAGuestTakesNoRoomOfANamespace has a guest name the namespace of somebody
// else for as much as that may have.
func TestAGuestTakesNoRoomOfANamespace(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		c := f.server.core
		c.held = pool.NewAllowance("bytes of credentials", 1000, 0)
		f.passwords.set(strings.Repeat("x", 500))
		ref := wellRef("default", scalerv1.KeyAuthenticationRef, "TriggerAuthentication/well")
		for range 2 {
			sub, err := c.subscribe(context.WithValue(t.Context(), guestKey{}, guest{}), c.Triggers[0], trigger.Request{Ref: ref},
				sampling.Wish{Interval: time.Minute}, func() {})
			if err != nil {
				t.Fatal(err)
			}
			defer sub.close()
			wait(time.Second)
		}
		w := f.watch(t)
		defer w.cancel()
		id := w.subscribe(t, "app", authenticated)
		wait(time.Second)
		if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE {
			t.Errorf("observation = %v, want a value", o.GetStatus())
		}
	})
}
