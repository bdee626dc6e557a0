package scalertest

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// Case is a trigger type and the backends that the contract is tried on.
type Case struct {
	Trigger scaler.Trigger
	// Address is where the backend is that answers with a value, "host:port", and
	// At the metadata of a trigger whose backend is there. What of Metadata, Dead
	// and Stalled is left out is made of them.
	Address string
	At      func(address string) map[string]string

	// Metadata is of a trigger whose backend answers with a value.
	Metadata map[string]string
	// Value is the first reading of that backend; 0 is for any.
	Value float64
	// Auth, Env and PodIdentity are what the trigger's references resolve to.
	Auth        map[string]string
	Env         map[string]string
	PodIdentity scaler.PodIdentity

	// Dead returns the metadata of a trigger whose backend refuses
	// connections, such as a port that nobody listens on. Without it and At, the
	// type has no backend, such as a timer.
	Dead func(t testing.TB) map[string]string
	// Stalled returns the metadata of a trigger whose backend accepts
	// connections and never answers; StalledAddress makes such a backend. Without
	// it and At, nothing is tried on one.
	Stalled func(t testing.TB) map[string]string
	// Parts is for a type that is read in batches. It returns triggers of one
	// batch, both of which are answered, and a function after which the part of
	// the backend that only the second one needs accepts and does not answer.
	Parts func(t testing.TB) (healthy, stalled map[string]string, stall func())
	// OnePart says, for such a type without Parts, why nothing in its batch can
	// stall by itself, or which test stalls it.
	OnePart string
}

// Contract tries everything that a Source promises on one trigger type. Every
// family runs it for every type, see Cases.
func Contract(t *testing.T, c Case) {
	t.Helper()
	c = c.whole()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			if !r.applies(c) {
				return
			}
			if err := r.check(t, c); err != nil {
				t.Error(err)
			}
		})
	}
}

// Violations tries the contract, or the named rules of it, and returns what is
// broken, by rule. It is for tests of the contract itself.
func Violations(t testing.TB, c Case, names ...string) map[string]error {
	c = c.whole()
	broken := map[string]error{}
	for _, r := range rules {
		if !r.applies(c) || len(names) > 0 && !slices.Contains(names, r.name) {
			continue
		}
		if err := r.check(t, c); err != nil {
			broken[r.name] = err
		}
	}
	return broken
}

// hanging is how long the contract waits for something that should be over.
// It is long, because a busy machine is no violation.
const hanging = 3 * time.Second

// reading is the deadline of reads that are expected to need theirs.
const reading = 300 * time.Millisecond

// ref is the request for a trigger with this metadata.
func (c Case) ref(metadata map[string]string) *externalscaler.ScaledObjectRef {
	f := Family{}
	if len(c.Auth) > 0 || len(c.Env) > 0 || c.PodIdentity != (scaler.PodIdentity{}) {
		f.ref = "TriggerAuthentication/contract"
	}
	return f.Ref(c.Trigger.Type, metadata)
}

func (c Case) credentials() *scaler.Credentials {
	return &scaler.Credentials{Parameters: c.Auth, Env: c.Env, PodIdentity: c.PodIdentity}
}

func (c Case) bind(metadata map[string]string) (*scaler.Bound, error) {
	return c.Trigger.Bind(c.ref(metadata), c.credentials())
}

// opening is a source that a rule has opened.
type opening struct {
	scaler.Source
	bound   *scaler.Bound
	metrics []scaler.Metric
	release func()
}

// open opens a source; its close releases everything.
func (c Case) open(ctx context.Context, metadata map[string]string) (*opening, error) {
	bound, err := c.bind(metadata)
	if err != nil {
		return nil, err
	}
	octx, release := scaler.Opening(ctx)
	source, err := openBound(octx, bound)
	if err != nil {
		release()
		return nil, err
	}
	o := &opening{Source: source, bound: bound, metrics: bound.Metrics, release: release}
	if specced, ok := source.(scaler.Specced); ok {
		o.metrics, err = specced.Specs(ctx)
		if err != nil {
			o.close()
			return nil, err
		}
	}
	return o, nil
}

func openBound(ctx context.Context, bound *scaler.Bound) (source scaler.Source, err error) {
	err = within(hanging, "Open", func() (err error) {
		source, err = bound.Open(ctx)
		return err
	})
	return source, err
}

func (o *opening) close() {
	_ = closeSource(o.Source)
	o.release()
}

// closeSource closes a source that has something to close.
func closeSource(source scaler.Source) error {
	if c, ok := source.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// readOnce opens a source, reads it and closes it, all within a deadline.
func (c Case) readOnce(ctx context.Context, metadata map[string]string, deadline time.Duration) ([]scaler.Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	o, err := c.open(ctx, metadata)
	if err != nil {
		return nil, err
	}
	defer o.close()
	var readings []scaler.Reading
	err = within(deadline+hanging, "Read", func() (err error) {
		readings, err = o.Read(ctx)
		return err
	})
	return readings, err
}

// announced is how the type says that it detects work.
func (c Case) announced() scalerv1.Detection { return c.Trigger.Describe().GetDetection() }
