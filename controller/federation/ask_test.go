package federation

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

func TestTheAdapterMeetsTheControllerAtOneInstance(t *testing.T) {
	controller := newWorld(t)
	families := []*family{newFamily(t, controller.events), newFamily(t, controller.events), newFamily(t, controller.events)}
	controller.service("kafka", families...)
	triggers := controller.subscribeMany("kafka", 60)
	controller.until("all are where they belong", func() bool { return len(controller.services3()) == 3 && controller.settled() })

	adapter := newWorld(t, func(c *Config) { c.Client = controller.client })
	for _, one := range triggers {
		one.Mode, one.PollingInterval = Active, time.Minute // what is asked about is known already
		value, err := adapter.GetMetrics(t.Context(), one, "backlog")
		if err != nil || value != 7 {
			t.Fatalf("GetMetrics = %v, %v", value, err)
		}
	}
	asked := 0
	for _, f := range families {
		for _, request := range f.requests() {
			asked++
			if request[:4] == "full" {
				t.Errorf("%s: the instance did not have it", request)
			}
		}
	}
	if asked != len(triggers) {
		t.Errorf("%d requests for %d questions", asked, len(triggers))
	}
}

func (w *world) services3() []*instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.services["kafka"].ranked(0)
}

func TestGetMetrics(t *testing.T) {
	answer := func(values ...*externalscaler.MetricValue) func(*family) {
		return func(f *family) {
			f.metrics = func(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
				return &externalscaler.GetMetricsResponse{MetricValues: values}, nil
			}
		}
	}
	tests := map[string]struct {
		change func(*family)
		want   float64
		err    string
		code   codes.Code
	}{
		"one value":                 {want: 7},
		"several values":            {change: answer(&externalscaler.MetricValue{MetricValueFloat: 1.5}, both(2, 0)), want: 3.5},
		"no value":                  {change: answer(), err: "no data: the answer is empty", code: codes.Unknown},
		"a value that is no number": {change: answer(&externalscaler.MetricValue{MetricValueFloat: nan()}), err: "no data: NaN is not a finite number", code: codes.Unknown},
		"an error in the family's words": {
			change: func(f *family) {
				f.metrics = func(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
					return nil, status.Error(codes.Unavailable, "kafka: no broker answers")
				}
			},
			err: "kafka: no broker answers", code: codes.Unavailable,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var change []func(*family)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			f := newFamily(t, w.events, change...)
			w.service("kafka", f)
			orders := trigger("kafka", 1)
			w.known("kafka")
			value, err := w.GetMetrics(t.Context(), orders, "backlog")
			if tt.err != "" {
				if err == nil || err.Error() != tt.err || status.Code(err) != tt.code {
					t.Fatalf("error = %v (%v), want %s (%v)", err, status.Code(err), tt.err, tt.code)
				}
				return
			}
			if err != nil || value != tt.want {
				t.Errorf("GetMetrics = %v, %v, want %v", value, err, tt.want)
			}
			id := orders.String()
			if got := f.requests(); !slices.Equal(got, []string{"known " + id, "full " + id}) {
				t.Errorf("requests = %v", got)
			}
		})
	}
}

// known waits until the addresses of a type are seen.
func (w *world) known(triggerType string) {
	w.t.Helper()
	probe := trigger(triggerType, 1_000_000)
	w.Subscribe(probe)
	w.until("the Service is seen", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		s := w.services[triggerType]
		return s != nil && s.anyReady()
	})
}

func TestAnInstanceThatIsGoneIsPassedOver(t *testing.T) {
	tests := map[string]func(*family){
		"killed": func(f *family) { f.kill() },
		"stalled": func(f *family) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.metrics = func(ctx context.Context, _ *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
				<-ctx.Done()
				return nil, status.FromContextError(ctx.Err()).Err()
			}
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := newFamily(t, w.events), newFamily(t, w.events)
			w.service("kafka", a, b)
			orders := trigger("kafka", 1)
			w.Subscribe(orders)
			w.until("both are ready", func() bool { return len(w.services3()) == 2 && w.settled() && len(a.has())+len(b.has()) == 1 })
			if len(a.has()) == 1 {
				end(a)
			} else {
				end(b)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			value, err := w.GetMetrics(ctx, orders, "backlog")
			if err != nil || value != 7 {
				t.Errorf("GetMetrics = %v, %v", value, err)
			}
		})
	}
}

func TestAFamilyHearsHowOldAReadingMayBe(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	var heard []string
	f.mu.Lock()
	f.metrics = func(ctx context.Context, _ *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		heard = append(heard, strings.Join(md.Get(scalerv1.HeaderMaxAge), ","))
		return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{{MetricName: "backlog", MetricValueFloat: 7}}}, nil
	}
	f.mu.Unlock()
	orders := trigger("kafka", 1)
	w.known("kafka")
	for _, ctx := range []context.Context{t.Context(), NotOlderThan(t.Context(), 300*time.Millisecond), NotOlderThan(t.Context(), -time.Second)} {
		if _, err := w.GetMetrics(ctx, orders, "backlog"); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(slices.Compact(heard), []string{"", "300ms", "1ms"}) {
		t.Errorf("heard %q", heard)
	}
}

func TestAQuestionEndsWithItsDeadline(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events, func(f *family) {
		f.metrics = func(ctx context.Context, _ *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	w.service("kafka", f)
	w.known("kafka")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := w.GetMetrics(ctx, trigger("kafka", 1), "backlog")
	if status.Code(err) != codes.DeadlineExceeded || err.Error() != "Service scaler-kafka in namespace sluice-system did not answer in time" {
		t.Errorf("error = %v", err)
	}
}

// TestLate names every way in which a peer's gRPC library says that our deadline
// has passed; only what a family says itself is an answer.
func TestLate(t *testing.T) {
	tests := []struct {
		code codes.Code
		text string
		want bool
	}{
		{codes.DeadlineExceeded, "context deadline exceeded", true},
		{codes.DeadlineExceeded, "stream terminated by RST_STREAM with error code: CANCEL", true},
		{codes.Canceled, "stream terminated by RST_STREAM with error code: CANCEL", true},
		{codes.Unknown, "context deadline exceeded", true},
		{codes.DeadlineExceeded, "broker kafka:9092 did not answer in time", false},
		{codes.Unavailable, "broker kafka:9092: connection refused", false},
	}
	for _, tt := range tests {
		if got := late(status.Error(tt.code, tt.text)); got != tt.want {
			t.Errorf("late(%v %q) = %v, want %v", tt.code, tt.text, got, tt.want)
		}
	}
}

func TestAThirdPartyIsAsked(t *testing.T) {
	w := newWorld(t)
	c := newClassic(t, w.events)
	w.classicService("jobs", c)
	w.known("jobs")
	jobs := trigger("jobs", 1)
	if value, err := w.GetMetrics(t.Context(), jobs, "jobs"); err != nil || value != 4 {
		t.Errorf("GetMetrics = %v, %v", value, err)
	}
	c.change(func() { c.values = nil })
	if _, err := w.GetMetrics(t.Context(), jobs, "jobs"); !errors.Is(err, ErrNoData) {
		t.Errorf("GetMetrics = %v, want no data", err)
	}
	jobs.NoData = "zero"
	if value, err := w.GetMetrics(t.Context(), jobs, "jobs"); err != nil || value != 0 {
		t.Errorf("GetMetrics = %v, %v, want the zero that the user wants", value, err)
	}
}

// TestAWorkloadThatCannotBeRead has a trigger whose variables nobody knows here:
// a family that has it answers, and nobody else is asked half a question.
func TestAWorkloadThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	f, c := newFamily(t, w.events), newClassic(t, w.events)
	w.service("kafka", f)
	w.classicService("jobs", c)
	w.known("kafka")
	w.known("jobs")
	unread := errors.New("scale target: forbidden")
	orders, jobs := trigger("kafka", 1), trigger("jobs", 1)
	orders.Unread, jobs.Unread = unread, unread
	jobs.Metadata = map[string]string{"queueFromEnv": "QUEUE"}
	for _, unknown := range []Trigger{orders, jobs} {
		if value, err := w.GetMetrics(t.Context(), unknown, "backlog"); !errors.Is(err, unread) {
			t.Errorf("%s: GetMetrics = %v, %v, want %v", unknown.Type, value, err, unread)
		}
	}
	jobs.Metadata, jobs.Authentication = nil, "TriggerAuthentication/login" // which a third party is not sent
	if value, err := w.GetMetrics(t.Context(), jobs, "jobs"); err != nil || value != 4 {
		t.Errorf("without a variable: GetMetrics = %v, %v", value, err)
	}
	w.Subscribe(trigger("kafka", 1))
	w.until("it is subscribed", func() bool { return f.sub(orders) != nil })
	if value, err := w.GetMetrics(t.Context(), orders, "backlog"); err != nil || value != 7 {
		t.Errorf("GetMetrics = %v, %v", value, err)
	}
	if full := "full " + orders.String(); slices.Contains(f.requests(), full) {
		t.Errorf("the family was asked %v", f.requests())
	}
}

func TestCachedMetricsOfAThirdPartyAreAskedForOncePerPoll(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events)
	w.classicService("jobs", c)
	w.known("jobs")
	jobs := trigger("jobs", 1)
	jobs.UseCachedMetrics, jobs.PollingInterval = true, time.Minute
	ask := func(want float64) {
		t.Helper()
		if value, err := w.GetMetrics(t.Context(), jobs, "jobs"); err != nil || value != want {
			t.Errorf("GetMetrics = %v, %v, want %v", value, err, want)
		}
	}
	ask(4)
	c.change(func() { c.values[0].MetricValueFloat = 5 })
	ask(4)
	now.Step(jobs.PollingInterval)
	ask(5)
	jobs.UseCachedMetrics = false
	c.change(func() { c.values[0].MetricValueFloat = 6 })
	ask(6)
}

func TestTransportIsAskedByFamily(t *testing.T) {
	asked := make(chan string, 10)
	refuse := make(chan bool, 1)
	refuse <- true
	w := newWorld(t, func(c *Config) {
		c.AllowPlaintext = false
		c.Transport = func(family string) (credentials.TransportCredentials, error) {
			asked <- family
			select {
			case <-refuse:
				return nil, errors.New("keys are not there yet")
			default:
				return insecure.NewCredentials(), nil
			}
		}
	})
	f := newFamily(t, w.events)
	svc := plainService("apache-kafka")
	svc.Labels = map[string]string{familyLabel: "kafka"}
	svc.Spec.Ports[0].AppProtocol = nil
	w.put(svc)
	w.addresses("apache-kafka", f)
	orders := trigger("apache-kafka", 1)
	orders.Authentication = "TriggerAuthentication/login"
	w.Subscribe(orders)
	w.until("it is observed, by reference", w.observed(orders, 7))
	for range 2 {
		if got := <-asked; got != "kafka" {
			t.Errorf("keys for %q", got)
		}
	}
}

func TestCreatingAndDeletingLeavesNothing(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	c := newClassic(t, w.events, func(c *classic) { c.pushes, c.pushesSpecs = true, true })
	w.service("kafka", f)
	w.classicService("jobs", c)
	cycle := func(n int) {
		orders, jobs := trigger("kafka", n), trigger("jobs", n+100_000)
		w.Subscribe(orders)
		w.Subscribe(jobs)
		w.until("both are observed", func() bool { return w.observed(orders, 7)() && w.observed(jobs, 4)() })
		w.Unsubscribe(orders.ID)
		w.Unsubscribe(jobs.ID)
	}
	empty := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(f.has()) == 0 && len(c.activity) == 0
	}
	for n := range 5 {
		cycle(n)
	}
	w.until("nothing is left", empty)
	before := runtime.NumGoroutine()
	for n := range 200 {
		cycle(n)
	}
	w.until("nothing is left", empty)
	w.until("goroutines are flat", func() bool { return runtime.NumGoroutine() <= before+10 })
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.subs) != 0 || len(w.services) != 2 || len(w.instances) != 2 {
		t.Errorf("left: %d subscriptions, %d types, %d instances", len(w.subs), len(w.services), len(w.instances))
	}
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}

func TestCheck(t *testing.T) {
	w := newWorld(t)
	wrong := trigger("kafka", 1)
	wrong.Metadata = map[string]string{"queue": "none"}
	if problems, err := w.Check(t.Context(), wrong); len(problems) > 0 || err != nil {
		t.Errorf("%q, %v without a family", problems, err)
	}
	w.service("kafka", newFamily(t, w.events))
	w.until("it is checked", func() bool {
		problems, err := w.Check(t.Context(), wrong)
		return err == nil && slices.Equal(problems, []string{"queue: is none"})
	})
	if problems, err := w.Check(t.Context(), trigger("kafka", 1)); len(problems) > 0 || err != nil {
		t.Errorf("%q, %v of a good trigger", problems, err)
	}
}
