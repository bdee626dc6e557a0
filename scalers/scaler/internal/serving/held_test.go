package serving

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// TestCredentialsOfANamespaceAreBounded has the triggers of a namespace refer to
// much: what is too much is refused, and taken once there is room.
func TestCredentialsOfANamespaceAreBounded(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.server.core.held = pool.NewAllowance("bytes of credentials", 1200, 0)
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
				o.GetStatus().GetMessage() != `well: the triggers of namespace "default" would have this family hold more than 1200 bytes of credentials`):
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
		c.held = pool.NewAllowance("bytes of credentials", 1200, 0)
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

// TestNoTriggerEndsAStreamByWhatIsToldOfIt has triggers of which there is more to
// tell than a message takes: warnings of their references, parameters that nobody
// knows, and an error. Each is told in a few words, and others on the same stream
// are served.
func TestNoTriggerEndsAStreamByWhatIsToldOfIt(t *testing.T) {
	const most = 16 << 10
	withFamily(t, func(t *testing.T, f *served) {
		f.passwords.change(func(p *passwords) {
			p.password, p.warnings = "right", slices.Repeat([]string{strings.Repeat("w", 2000)}, 1000)
		})
		w := f.watch(t)
		defer w.cancel()
		warned := w.subscribe(t, "warned", authenticated)
		unknown := w.subscribe(t, "unknown", func(s *scalerv1.Subscribe) {
			for i := range 500 {
				s.Ref.ScalerMetadata[fmt.Sprint(strings.Repeat("u", 200), i)] = "x"
			}
		})
		wait(resolveSpread)
		for _, id := range []string{warned, unknown} {
			frame := w.now().accepted[id]
			warnings := frame.GetWarnings()
			if size := proto.Size(frame); size > most || len(warnings) < 2 || !strings.HasSuffix(warnings[len(warnings)-1], " more") {
				t.Errorf("%s is told in %d bytes of %d, with %d warnings", id, size, most, len(warnings))
			}
			if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE {
				t.Errorf("observation of %s = %v", id, o)
			}
		}
		f.passwords.change(func(p *passwords) {
			p.err = words.Errorf(codes.NotFound, "outer: %w", words.Errorf(codes.NotFound, "inner: %s", strings.Repeat("e", 1<<20)))
		})
		failed := w.subscribe(t, "failed", authenticated)
		wait(resolveSpread)
		o := w.observation(failed)
		if size := proto.Size(o); size > most || codes.Code(o.GetStatus().GetCode()) != codes.NotFound {
			t.Errorf("a failure is told in %d bytes: %.200v", size, o)
		}
		// Nor is more of it kept than is told.
		for sub := range f.server.core.byID[failed] {
			for err := sub.failure; err != nil; err = errors.Unwrap(err) {
				if len(err.Error()) > most {
					t.Errorf("%d bytes are kept of a failure", len(err.Error()))
				}
			}
		}
	})
}
