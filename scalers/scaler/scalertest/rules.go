package scalertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// rule is one promise of the contract.
type rule struct {
	name    string
	applies func(Case) bool
	check   func(testing.TB, Case) error
}

func always(Case) bool       { return true }
func hasDead(c Case) bool    { return c.Dead != nil }
func hasStalled(c Case) bool { return c.Stalled != nil }
func rings(c Case) bool      { return c.announced() == scalerv1.Detection_DETECTION_DOORBELL }

// rules is the contract, in the order in which it is read.
var rules = []rule{
	{"metrics need no source", always, metricsNeedNoSource},
	{"a target is not part of the question", always, targetIsNoQuestion},
	{"a read answers for every metric", always, readAnswers},
	{"a read can be repeated", always, readRepeats},
	{"a batch answers as a read does", always, batchAnswers},
	{"a stalled part fails itself alone", always, stalledPartFailsAlone},
	{"the next change lies ahead", always, nextLiesAhead},
	{"a cancelled read returns", always, cancelledReadReturns},
	{"a dead backend is an error", hasDead, deadIsError},
	{"a dead backend is not an empty answer", hasDead, deadIsNotNoData},
	{"a failed opening leaves nothing", hasDead, failedOpenLeavesNothing},
	{"a stalled backend returns within the deadline", hasStalled, stalledReturns},
	{"nothing is left after close", always, nothingLeft},
	{"close may come again", always, closeTwice},
	{"listening follows a read", rings, listenFollowsRead},
	{"listening ends with its context", rings, listenEnds},
	{"a secret is in no error", always, noSecretInErrors},
	{"the family answers over gRPC", always, familyAnswers},
}

// errHangs is what within returns for a call that is not over in time.
var errHangs = errors.New("does not return")

// within runs f and gives up on it after limit. A panic is an error.
func within(limit time.Duration, what string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if cause := recover(); cause != nil {
				done <- fmt.Errorf("%s panics: %v", what, cause)
			}
		}()
		done <- f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%s %w", what, errHangs)
	}
}

func metricsNeedNoSource(_ testing.TB, c Case) error {
	first, err := c.Trigger.Bind(c.ref(c.Metadata), nil)
	if err != nil {
		return fmt.Errorf("without credentials: %w", err)
	}
	second, err := c.bind(c.Metadata)
	if err != nil {
		return err
	}
	if !slices.Equal(first.Metrics, second.Metrics) {
		return fmt.Errorf("metrics differ between two calls: %v and %v", first.Metrics, second.Metrics)
	}
	for _, m := range first.Metrics {
		if m.Name == "" || !(m.Target > 0) {
			return fmt.Errorf("metric %+v has no name or no target", m)
		}
	}
	return nil
}

func targetIsNoQuestion(_ testing.TB, c Case) error {
	plain, err := c.bind(c.Metadata)
	if err != nil {
		return err
	}
	again, err := c.bind(c.Metadata)
	if err != nil {
		return err
	}
	if plain.Question == "" || plain.Question != again.Question {
		return errors.New("equal triggers ask different questions")
	}
	for _, p := range c.Trigger.Describe().GetParameters() {
		if p.GetRole() == scalerv1.ParameterRole_PARAMETER_ROLE_UNSPECIFIED || p.GetQuestion() || c.Metadata[p.GetName()] != "" {
			continue
		}
		other := maps.Clone(c.Metadata)
		other[p.GetName()] = "7"
		changed, err := c.bind(other)
		if err == nil && changed.Question != plain.Question {
			return fmt.Errorf("%s changes the question", p.GetName())
		}
	}
	for _, p := range c.Trigger.Describe().GetParameters() {
		if p.GetRole() != scalerv1.ParameterRole_PARAMETER_ROLE_UNSPECIFIED && p.GetQuestion() {
			return fmt.Errorf("%s is part of the question, so triggers with different targets share no read", p.GetName())
		}
	}
	return nil
}

// count checks that readings are one finite number per metric.
func count(readings []scaler.Reading, metrics []scaler.Metric) error {
	if len(readings) != len(metrics) {
		return fmt.Errorf("%d readings for %d metrics", len(readings), len(metrics))
	}
	for i, r := range readings {
		if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) || math.IsNaN(r.Activity) {
			return fmt.Errorf("metric %s is %v: a source without a number returns ErrNoData", metrics[i].Name, r.Value)
		}
	}
	return nil
}

func readAnswers(t testing.TB, c Case) error {
	o, err := c.open(t.Context(), c.Metadata)
	if err != nil {
		return err
	}
	defer o.close()
	ctx, cancel := context.WithTimeout(t.Context(), hanging)
	defer cancel()
	raw, err := o.Read(ctx)
	if err != nil {
		return err
	}
	if err := count(raw, o.metrics); err != nil {
		return err
	}
	if c.Value != 0 && (len(raw) == 0 || raw[0].Value != c.Value) {
		return fmt.Errorf("read %v, want %v", raw, c.Value)
	}
	kept := slices.Clone(raw)
	if err := count(o.bound.Shape(raw), o.metrics); err != nil {
		return fmt.Errorf("after Shape: %w", err)
	}
	for i := range raw {
		if raw[i].Value != kept[i].Value || raw[i].Activity != kept[i].Activity {
			return errors.New("readings that others share are changed by Shape")
		}
	}
	return nil
}

func readRepeats(t testing.TB, c Case) error {
	o, err := c.open(t.Context(), c.Metadata)
	if err != nil {
		return err
	}
	defer o.close()
	for i := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), hanging)
		readings, err := o.Read(ctx)
		cancel()
		if err == nil {
			err = count(readings, o.metrics)
		}
		if err != nil {
			return fmt.Errorf("read %d: %w", i+1, err)
		}
	}
	return nil
}

func batchAnswers(t testing.TB, c Case) error {
	o, err := c.open(t.Context(), c.Metadata)
	if err != nil {
		return err
	}
	defer o.close()
	b, ok := o.Source.(scaler.Batched)
	if !ok {
		return nil
	}
	if b.Batch() != b.Batch() {
		return errors.New("a source is not of the same batch as itself")
	}
	for n := 1; n <= 2; n++ {
		sources := slices.Repeat([]scaler.Source{o.Source}, n)
		ctx, cancel := context.WithTimeout(t.Context(), hanging)
		results := scaler.ReadTogether(ctx, b.Batch(), sources...)
		cancel()
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
			if err := count(r.Readings, o.metrics); err != nil {
				return err
			}
		}
	}
	return nil
}

func stalledPartFailsAlone(t testing.TB, c Case) error {
	o, err := c.open(t.Context(), c.Metadata)
	if err != nil {
		return err
	}
	o.close()
	b, ok := o.Source.(scaler.Batched)
	if !ok {
		return nil
	}
	if _, whole := b.Batch().(scaler.Undivided); whole || c.OnePart != "" {
		return nil
	}
	if c.Parts == nil {
		return errors.New("the case says neither which parts of a batch can stall nor why there are none")
	}
	healthy, stalled, stall := c.Parts(t)
	octx, release := scaler.Opening(t.Context())
	defer release()
	var members []scaler.Batched
	for _, metadata := range []map[string]string{healthy, stalled} {
		bound, err := c.bind(metadata)
		if err != nil {
			return err
		}
		source, err := openBound(octx, bound)
		if err != nil {
			return err
		}
		defer func() { _ = closeSource(source) }()
		members = append(members, source.(scaler.Batched))
	}
	if members[0].Batch() != members[1].Batch() {
		return errors.New("the parts are not of one batch")
	}
	ctx, cancel := context.WithTimeout(t.Context(), hanging)
	defer cancel()
	for _, r := range scaler.ReadTogether(ctx, members[0].Batch(), members[0], members[1]) {
		if r.Err != nil {
			return fmt.Errorf("before the stall: %w", r.Err)
		}
	}
	stall()
	for at := range members { // whichever comes first
		if err := readBesideStalled(t, members[0], members[1], at); err != nil {
			return err
		}
	}
	return nil
}

// readBesideStalled reads two members of a batch, the stalled one at this
// place.
func readBesideStalled(t testing.TB, healthy, stalled scaler.Batched, at int) error {
	sources := []scaler.Source{healthy, healthy}
	sources[at] = stalled
	ctx, cancel := context.WithTimeout(t.Context(), hanging/2)
	defer cancel()
	var mu sync.Mutex
	results := make([]scaler.Result, len(sources))
	for i := range results {
		results[i].Err = errors.New("not answered before the deadline")
	}
	err := within(2*hanging, "ReadBatch", func() error {
		_ = healthy.Batch().ReadBatch(ctx, sources, func(i int, r scaler.Result) { // its error is not for who was answered
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() == nil {
				results[i] = r
			}
		})
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	switch {
	case err != nil:
		return err
	case results[at].Err == nil:
		return fmt.Errorf("the stalled part has the value %v", results[at].Readings)
	case results[1-at].Err != nil:
		return fmt.Errorf("beside a stalled part: %w", results[1-at].Err)
	}
	return nil
}

func nextLiesAhead(t testing.TB, c Case) error {
	o, err := c.open(t.Context(), c.Metadata)
	if err != nil {
		return err
	}
	defer o.close()
	timed, ok := o.Source.(scaler.Timed)
	if !ok {
		return nil
	}
	now := time.Now()
	for range 10 {
		next := timed.Next(now)
		if !next.After(now) {
			return fmt.Errorf("the change after %s is at %s", now, next)
		}
		now = next
	}
	return nil
}

func cancelledReadReturns(t testing.TB, c Case) error {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o, err := c.open(ctx, c.Metadata)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	// A source that does not return is closed by whoever makes it return.
	defer func() {
		go func() {
			<-done
			o.close()
		}()
	}()
	cancel()
	return within(hanging, "a Read with a cancelled context", func() error {
		defer close(done)
		_, _ = o.Read(ctx)
		return nil
	})
}

func deadIsError(t testing.TB, c Case) error {
	readings, err := c.readOnce(t.Context(), c.Dead(t), hanging)
	if err == nil {
		return fmt.Errorf("a backend that is not there is read as %v", readings)
	}
	if code := status.Code(err); code == codes.OK || code == codes.Internal || isStatus(err) && code == codes.Unknown {
		return fmt.Errorf("a backend that is not there has code %v: %w", code, err)
	}
	return nil
}

func isStatus(err error) bool {
	_, ok := status.FromError(err)
	return ok
}

func deadIsNotNoData(t testing.TB, c Case) error {
	if _, err := c.readOnce(t.Context(), c.Dead(t), hanging); errors.Is(err, scaler.ErrNoData) {
		return errors.New("a backend that is not there has no data, instead of an error")
	}
	return nil
}

func failedOpenLeavesNothing(t testing.TB, c Case) error {
	metadata := c.Dead(t)
	before := goleak.IgnoreCurrent()
	_, _ = c.readOnce(t.Context(), metadata, hanging)
	return goleak.Find(before)
}

func stalledReturns(t testing.TB, c Case) error {
	_, err := c.readOnce(t.Context(), c.Stalled(t), reading)
	switch {
	case errors.Is(err, errHangs):
		return fmt.Errorf("a backend that does not answer: %w", err)
	case err == nil:
		return errors.New("a backend that does not answer has a value")
	case errors.Is(err, scaler.ErrNoData):
		return errors.New("a backend that does not answer has no data, instead of an error")
	}
	return nil
}

func nothingLeft(t testing.TB, c Case) error {
	before := goleak.IgnoreCurrent()
	for range 2 {
		if _, err := c.readOnce(t.Context(), c.Metadata, hanging); err != nil {
			return err
		}
	}
	return goleak.Find(before)
}

func closeTwice(t testing.TB, c Case) error {
	o, err := c.open(t.Context(), c.Metadata)
	if err != nil {
		return err
	}
	defer o.release()
	for range 2 {
		panicked := within(hanging, "Close", func() error {
			_ = closeSource(o.Source)
			return nil
		})
		if panicked != nil {
			return panicked
		}
	}
	return nil
}

// listenFollowsRead has a source listened to twice, each time after a Read.
func listenFollowsRead(t testing.TB, c Case) error { return readAndListen(t.Context(), c, 2) }

func listenEnds(t testing.TB, c Case) error { return readAndListen(t.Context(), c, 1) }

// readAndListen reads and listens to one source that many times in turn.
func readAndListen(ctx context.Context, c Case, times int) error {
	o, err := c.open(ctx, c.Metadata)
	if err != nil {
		return err
	}
	ringer, ok := o.Source.(scaler.Ringer)
	if !ok {
		o.close()
		return errors.New("the type announces a doorbell and its source has none")
	}
	for range times {
		if err = readThenListen(ctx, ringer); err != nil {
			break
		}
	}
	if !errors.Is(err, errHangs) { // else it is still in use
		o.close()
	}
	return err
}

func readThenListen(ctx context.Context, ringer scaler.Ringer) error {
	err := within(2*hanging, "Read", func() error {
		ctx, cancel := context.WithTimeout(ctx, hanging)
		defer cancel()
		_, err := ringer.Read(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return listenUntilCancelled(ctx, ringer)
}

// listenUntilCancelled listens until the source would ring, and ends that.
func listenUntilCancelled(ctx context.Context, ringer scaler.Ringer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listening := make(chan struct{})
	begun := sync.OnceFunc(func() { close(listening) })
	done := make(chan error, 1)
	go func() { done <- ringer.Listen(ctx, begun, func() {}) }()
	timer := time.NewTimer(2 * hanging)
	defer timer.Stop()
	select {
	case <-listening:
	case err := <-done:
		return fmt.Errorf("listening ended at once: %w", err)
	case <-timer.C:
		return fmt.Errorf("Listen does not call listening and %w", errHangs)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("listening ended with %w, not with its context's error", err)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("Listen %w when its context ends", errHangs)
	}
}

func noSecretInErrors(t testing.TB, c Case) error {
	var seen []error
	for _, backend := range []func(testing.TB) map[string]string{c.Dead, c.Stalled} {
		if backend != nil {
			_, err := c.readOnce(t.Context(), backend(t), reading)
			seen = append(seen, err)
		}
	}
	// A trigger with a mistake says so without its secrets, too.
	for _, p := range c.Trigger.Describe().GetParameters() {
		if p.GetRole() != scalerv1.ParameterRole_PARAMETER_ROLE_UNSPECIFIED {
			wrong := maps.Clone(c.Metadata)
			wrong[p.GetName()] = "many"
			_, err := c.bind(wrong)
			seen = append(seen, err)
		}
	}
	for _, err := range seen {
		for name, secret := range c.Auth {
			if err != nil && len(secret) > 4 && strings.Contains(err.Error(), secret) {
				return fmt.Errorf("the value of %s is in an error", name)
			}
		}
	}
	return nil
}

func familyAnswers(t testing.TB, c Case) error {
	family := c.Serve(t)
	if _, _, err := family.ObserveAll(t.Context(), c.Trigger.Type, c.Metadata); err != nil {
		return err
	}
	if c.Dead == nil {
		return nil
	}
	values, active, err := family.ObserveAll(t.Context(), c.Trigger.Type, c.Dead(t))
	if err == nil {
		return fmt.Errorf("a backend that is not there is told as %v, %v", values, active)
	}
	if code := status.Code(err); code == codes.Internal || code == codes.Unknown {
		return fmt.Errorf("a backend that is not there has code %v: %w", code, err)
	}
	return nil
}
