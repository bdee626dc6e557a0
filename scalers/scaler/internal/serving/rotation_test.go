package serving

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// authenticated is a trigger with an authenticationRef.
var authenticated = with(scalerv1.KeyAuthenticationRef, "TriggerAuthentication/secret")

// loggedIn subscribes to a trigger whose password is read again after a time,
// and is read by then.
func loggedIn(t *testing.T, f *served, again time.Duration) (w *watcher, id string) {
	t.Helper()
	f.passwords.change(func(p *passwords) { p.password, p.again = "old", again })
	w = f.watch(t)
	id = w.subscribe(t, "app", authenticated)
	wait(time.Second)
	return w, id
}

func TestAChangedSecretIsPickedUpWithinAMinute(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w, id := loggedIn(t, f, 45*time.Second)
		defer w.cancel()
		if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE || f.well.opens.Load() != 1 {
			t.Fatalf("observation = %v after %d openings", o, f.well.opens.Load())
		}
		f.passwords.set("new")
		wait(time.Minute)
		if n := f.well.opens.Load(); n != 2 {
			t.Errorf("%d sources were opened, want another with the new password", n)
		}
		wait(2 * time.Minute)
		if n := f.well.alive.Load(); n != 1 {
			t.Errorf("%d sources are open, want the new one alone", n)
		}
		if n := f.well.opens.Load(); n != 2 {
			t.Errorf("%d sources were opened: the same password opens none", n)
		}
	})
}

func TestWhatTheSourceRefusedIsReadAgainAtOnce(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w, id := loggedIn(t, f, time.Hour)
		defer w.cancel()
		refusal := status.Error(codes.Unauthenticated, "login refused")
		f.well.err.Store(&refusal)
		f.passwords.set("new")
		wait(30 * time.Second) // the read that is refused
		// As many as fit in before the refusals end, with a pause in between.
		if n := f.well.opens.Load(); n < 2 {
			t.Errorf("%d sources were opened, want another with the new password", n)
		}
		f.passwords.change(func(p *passwords) {
			if p.last.NotBefore.IsZero() {
				t.Error("what was known before the refusal would do")
			}
		})
		f.well.err.Store(nil)
		wait(time.Minute)
		if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE {
			t.Errorf("observation = %v", o)
		}
	})
}

// TestWhoWaitsMovesAlong has a caller wait for a login that is not answered while
// the password changes: it gets what the new one leads to, at once.
func TestWhoWaitsMovesAlong(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.well.level.Store(7)
		f.passwords.change(func(p *passwords) { p.password, p.again = "unanswered", time.Second })
		ref := &externalscaler.ScaledObjectRef{Name: "app", Namespace: "default", ScalerMetadata: map[string]string{
			scalerv1.KeyTriggerType: "well", scalerv1.KeyAuthenticationRef: "TriggerAuthentication/secret", "name": "deep",
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		asked := make(chan error, 1)
		go func() {
			answer, err := f.external.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: ref, MetricName: "well-deep"})
			if err == nil && answer.GetMetricValues()[0].GetMetricValueFloat() != 7 {
				t.Errorf("answer = %v", answer)
			}
			asked <- err
		}()
		wait(100 * time.Millisecond)
		f.passwords.set("new")
		if err := <-asked; err != nil {
			t.Errorf("GetMetrics: %v", err)
		}
	})
}

func TestCredentialsThatAreGoneEndTheReads(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w, id := loggedIn(t, f, 45*time.Second)
		defer w.cancel()
		f.passwords.change(func(p *passwords) { p.err = status.Error(codes.PermissionDenied, "not granted any more") })
		wait(time.Minute)
		o := w.observation(id)
		if codes.Code(o.GetStatus().GetCode()) != codes.PermissionDenied || o.GetStatus().GetMessage() != "well: not granted any more" {
			t.Errorf("observation = %v, want the refusal", o)
		}
		wait(2 * time.Minute)
		if n := f.well.alive.Load(); n != 0 {
			t.Errorf("%d sources are open with credentials that were taken away", n)
		}
		f.passwords.change(func(p *passwords) { p.err = nil })
		wait(2 * time.Minute)
		if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE {
			t.Errorf("observation = %v, want a value: it is granted again", o)
		}
	})
}

func TestASilentAPIServerChangesNothing(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w, id := loggedIn(t, f, 45*time.Second)
		defer w.cancel()
		f.passwords.change(func(p *passwords) { p.err = status.Error(codes.Unavailable, "the API server does not answer") })
		wait(50 * time.Minute)
		if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE {
			t.Errorf("observation = %v, want a value with what was known", o)
		}
		wait(15 * time.Minute)
		if o := w.observation(id); codes.Code(o.GetStatus().GetCode()) != codes.Unavailable {
			t.Errorf("observation = %v, want the credentials to be given up after an hour", o)
		}
	})
}

func TestAnEnvironmentMayChangeWithoutANewGeneration(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w := f.watch(t)
		defer w.cancel()
		account := func(name string) change { return with(scalerv1.KeyServiceAccount, name) }
		f.passwords.set("one")
		w.subscribe(t, "app", authenticated, account("a"))
		wait(time.Second)
		w.subscribe(t, "app", authenticated, account("a"), with(scalerv1.KeyMode, "active"))
		wait(time.Second)
		f.passwords.change(func(p *passwords) {
			if p.reads != 1 {
				t.Errorf("resolved %d times: a mode changes no credentials", p.reads)
			}
		})
		w.subscribe(t, "app", authenticated, account("b"))
		wait(time.Second)
		f.passwords.change(func(p *passwords) {
			if p.last.ServiceAccount != "b" {
				t.Errorf("resolved for account %q, want b", p.last.ServiceAccount)
			}
		})
	})
}

// Whoever mends what an error named, a right, a Secret or what is in it, sees so
// within seconds, however long the interval.
func TestWhatIsMendedIsTriedAtOnce(t *testing.T) {
	slow := func(s *scalerv1.Subscribe) { s.Interval = durationpb.New(time.Hour) }
	refusal := status.Error(codes.Unauthenticated, "login refused")
	for name, tt := range map[string]struct{ wrong, mended func(f *served) }{
		"a right is granted": {
			wrong: func(f *served) {
				f.passwords.change(func(p *passwords) { p.err = status.Error(codes.PermissionDenied, "not granted") })
			},
			mended: func(f *served) { f.passwords.change(func(p *passwords) { p.err = nil }) },
		},
		"a Secret is made": {
			wrong:  func(f *served) { f.passwords.set("") },
			mended: func(f *served) { f.passwords.set("right") },
		},
		"a password is corrected": {
			wrong: func(f *served) {
				f.passwords.change(func(p *passwords) { p.password, p.again = "wrong", time.Hour })
				f.well.err.Store(&refusal)
			},
			mended: func(f *served) {
				f.well.err.Store(nil)
				f.passwords.set("right")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			withFamily(t, func(t *testing.T, f *served) {
				f.passwords.set("right")
				tt.wrong(f)
				w := f.watch(t)
				defer w.cancel()
				id := w.subscribe(t, "app", authenticated, slow)
				wait(30*time.Minute + 10*time.Second)
				if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_ERROR {
					t.Fatalf("observation = %v, want an error", o)
				}
				tt.mended(f)
				wait(latestResolve + time.Second)
				if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE {
					t.Errorf("observation = %v, want a value", o)
				}
			})
		})
	}
}
