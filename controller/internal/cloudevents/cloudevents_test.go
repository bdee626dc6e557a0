package cloudevents

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/outbound"
)

func TestMain(m *testing.M) {
	outbound.Allow(netip.MustParsePrefix("127.0.0.1/32")) // the tests' receivers
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// received is one CloudEvent as it came, in binary mode.
type received struct {
	header http.Header
	data   data
}

// receiver is a user's sink.
func receiver(t *testing.T, status int) (uri string, got chan received) {
	t.Helper()
	got = make(chan received, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one := received{header: r.Header}
		if err := json.NewDecoder(r.Body).Decode(&one.data); err != nil {
			t.Error(err)
		}
		got <- one
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

// fixture is a process with sinks, and a cluster with sources.
type fixture struct {
	*Sinks
	t        *testing.T
	client   client.Client
	recorder Recorder
	made     int // sources
}

func start(t *testing.T) *fixture {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := eventing.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		Sinks: NewSinks("mine", "keda", slog.New(slog.DiscardHandler)), t: t,
		client: fake.NewClientBuilder().WithScheme(scheme).
			WithStatusSubresource(&eventing.CloudEventSource{}, &eventing.ClusterCloudEventSource{}).Build(),
	}
	f.Pause = time.Millisecond
	f.recorder = Recorder{EventRecorder: events.NewFakeRecorder(1000), Sinks: f.Sinks}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

// apply makes or changes a source and reconciles it; its condition is returned.
func (f *fixture) apply(namespace, name string, spec eventing.CloudEventSourceSpec) v1alpha1.Condition {
	f.t.Helper()
	fresh := func() eventing.Source { return &eventing.CloudEventSource{} }
	if namespace == "" {
		fresh = func() eventing.Source { return &eventing.ClusterCloudEventSource{} }
	}
	source := fresh()
	key := types.NamespacedName{Namespace: namespace, Name: name}
	exists := f.client.Get(f.t.Context(), key, source) == nil
	source.SetNamespace(namespace)
	source.SetName(name)
	source.SetGeneration(source.GetGeneration() + 1)
	*source.Wants() = spec
	var err error
	if exists {
		err = f.client.Update(f.t.Context(), source)
	} else {
		f.made++
		source.SetUID(types.UID(strconv.Itoa(f.made)))
		err = f.client.Create(f.t.Context(), source)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return f.reconcile(key, fresh)
}

func (f *fixture) reconcile(key types.NamespacedName, fresh func() eventing.Source) v1alpha1.Condition {
	f.t.Helper()
	r := &Reconciler{Client: f.client, Sinks: f.Sinks, New: fresh, Leads: func() bool { return true }}
	if _, err := r.Reconcile(f.t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
		f.t.Fatal(err)
	}
	source := fresh()
	if err := f.client.Get(f.t.Context(), key, source); err != nil {
		f.t.Fatal(err)
	}
	active, _ := source.State().Conditions.Get(v1alpha1.ConditionActive)
	return active
}

func to(uri string) eventing.CloudEventSourceSpec {
	return eventing.CloudEventSourceSpec{Destination: eventing.Destination{HTTP: &eventing.HTTPDestination{URI: uri}}}
}

// happens records an event about a ScaledObject of a namespace.
func (f *fixture) happens(namespace, reason string) {
	so := &v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "worker"}}
	f.recorder.Eventf(so, nil, "Normal", reason, "Test", "%s", "it is 100% so")
}

// Lessons J8 and J9: no event goes out under another kind's type, and each
// names the plain namespace.
func TestEventsAreOfTheirOwnKind(t *testing.T) {
	sj := &v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "batch"}}
	for reason, of := range typesByReason {
		e, ok := eventOf(sj, reason, "")
		if !ok || e.kind != of || e.namespace != "shop" || e.name != "batch" ||
			!strings.HasPrefix(strings.ToLower(reason), e.object) || !strings.Contains(string(of), "."+e.object+".") {
			t.Errorf("%s is %+v", reason, e)
		}
	}
}

func TestEnvelope(t *testing.T) {
	f := start(t)
	uri, got := receiver(t, http.StatusOK)
	if active := f.apply("shop", "mine", to(uri)); active.Status != metav1.ConditionTrue || active.Reason != "CloudEventSourceActive" {
		t.Errorf("condition %+v", active)
	}
	f.happens("shop", "KEDAScalersStarted") // says nothing about a life
	f.happens("shop", "ScaledObjectReady")
	one := <-got
	for header, want := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Type": "keda.scaledobject.ready.v1", "Ce-Source": "/mine/keda/keda",
		"Ce-Subject": "/mine/shop/scaledobject/worker", "Content-Type": "application/json",
	} {
		if have := one.header.Get(header); have != want {
			t.Errorf("%s: %q, want %q", header, have, want)
		}
	}
	if one.header.Get("Ce-Id") == "" || one.header.Get("Ce-Time") == "" {
		t.Errorf("no id or time: %v", one.header)
	}
	if one.data != (data{"ScaledObjectReady", "it is 100% so"}) {
		t.Errorf("data %+v", one.data)
	}
}

// TestEachSinkGetsWhatItAskedFor: of its namespace, and by its own filter.
func TestEachSinkGetsWhatItAskedFor(t *testing.T) {
	f := start(t)
	sinks := map[string]chan received{}
	for name, change := range map[string]func(*eventing.CloudEventSourceSpec){
		"shop/all": func(*eventing.CloudEventSourceSpec) {},
		"shop/included": func(s *eventing.CloudEventSourceSpec) {
			s.EventSubscription.IncludedEventTypes = []eventing.EventType{"keda.scaledobject.paused.v1"}
		},
		"shop/excluded": func(s *eventing.CloudEventSourceSpec) {
			s.EventSubscription.ExcludedEventTypes = []eventing.EventType{"keda.scaledobject.paused.v1"}
		},
		"other/all": func(*eventing.CloudEventSourceSpec) {},
		"/cluster":  func(s *eventing.CloudEventSourceSpec) { s.ClusterName = "theirs" },
	} {
		uri, got := receiver(t, http.StatusAccepted)
		spec := to(uri)
		change(&spec)
		namespace, name, _ := strings.Cut(name, "/")
		f.apply(namespace, name, spec)
		sinks[namespace+"/"+name] = got
	}
	f.happens("shop", "ScaledObjectPaused")
	f.happens("shop", "ScaledObjectUnpaused")
	f.happens("other", "ScaledObjectDeleted")
	for sink, want := range map[string][]string{
		"shop/all":      {"paused", "unpaused"},
		"shop/included": {"paused"},
		"shop/excluded": {"unpaused"},
		"other/all":     {"removed"},
		"/cluster":      {"paused", "unpaused", "removed"},
	} {
		for _, kind := range want {
			one := <-sinks[sink]
			if have := one.header.Get("Ce-Type"); have != "keda.scaledobject."+kind+".v1" {
				t.Errorf("%s: %s, want %s", sink, have, kind)
			}
			if sink == "/cluster" && !strings.HasPrefix(one.header.Get("Ce-Source"), "/theirs/") {
				t.Errorf("source %s", one.header.Get("Ce-Source"))
			}
		}
	}
	for sink, got := range sinks {
		if len(got) > 0 {
			t.Errorf("%s got %d more", sink, len(got))
		}
	}
}

func TestSinkThatTakesNothingIsGivenUpUntilItsSpecChanges(t *testing.T) {
	f := start(t)
	key := types.NamespacedName{Namespace: "shop", Name: "mine"}
	gaveUp := make(chan types.NamespacedName, 1)
	f.GaveUp = func(key types.NamespacedName) { gaveUp <- key }
	uri, got := receiver(t, http.StatusInternalServerError)
	f.apply("shop", "mine", to(uri))
	f.happens("shop", "ScaledObjectReady")
	if who := <-gaveUp; who != key {
		t.Errorf("gave up %s", who)
	}
	if len(got) != attempts+1 {
		t.Errorf("%d attempts", len(got))
	}
	fresh := func() eventing.Source { return &eventing.CloudEventSource{} }
	active := f.reconcile(key, fresh)
	if active.Status != metav1.ConditionFalse || active.Reason != "CloudEventSourceFailed" || !strings.Contains(active.Message, "not delivered in 6 attempts") {
		t.Errorf("condition %+v", active)
	}
	f.happens("shop", "ScaledObjectReady")
	good, took := receiver(t, http.StatusOK)
	if active := f.apply("shop", "mine", to(good)); active.Status != metav1.ConditionTrue {
		t.Errorf("condition %+v", active)
	}
	f.happens("shop", "ScaledObjectPaused")
	if one := <-took; one.header.Get("Ce-Type") != "keda.scaledobject.paused.v1" || len(got) != attempts+1 {
		t.Errorf("got %s; the old sink %d", one.header.Get("Ce-Type"), len(got))
	}
	if n := f.metrics.emitted.Of(key, "shop", "shop", "mine", "http", "failed"); n != 1 {
		t.Errorf("%v events are counted as failed", n)
	}
}

func TestDestinationsThatCannotWork(t *testing.T) {
	f := start(t)
	for message, spec := range map[string]eventing.CloudEventSourceSpec{
		"destination: http is required":                          {},
		"destination.http.uri: is not the URL of an HTTP server": to("file:///etc/passwd"),
		"destination.azureEventGridTopic: needs credentials, which the controller never has; send to an HTTP sink that forwards": {
			Destination: eventing.Destination{AzureEventGridTopic: &eventing.AzureEventGridTopic{Endpoint: "https://grid"}},
		},
	} {
		if active := f.apply("shop", "mine", spec); active.Status != metav1.ConditionFalse || active.Message != message {
			t.Errorf("condition %+v, want %q", active, message)
		}
	}
}

func TestDeletedSourceGetsNothing(t *testing.T) {
	f := start(t)
	uri, got := receiver(t, http.StatusOK)
	other, took := receiver(t, http.StatusOK)
	f.apply("shop", "mine", to(uri))
	f.apply("shop", "other", to(other))
	gone := &eventing.CloudEventSource{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mine"}}
	if err := f.client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{Client: f.client, Sinks: f.Sinks, New: func() eventing.Source { return &eventing.CloudEventSource{} }, Leads: func() bool { return true }}
	if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(gone)}); err != nil {
		t.Fatal(err)
	}
	f.happens("shop", "ScaledObjectReady")
	<-took
	if len(got) > 0 {
		t.Error("a deleted source gets events")
	}
}

func TestSourceMadeAnewIsAnother(t *testing.T) {
	f := start(t)
	before, got := receiver(t, http.StatusOK)
	after, took := receiver(t, http.StatusOK)
	f.apply("shop", "mine", to(before))
	old := &eventing.CloudEventSource{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mine"}}
	if err := f.client.Delete(t.Context(), old); err != nil { // too short for anybody to see
		t.Fatal(err)
	}
	f.apply("shop", "mine", to(after))
	f.happens("shop", "ScaledObjectReady")
	<-took
	if len(got) > 0 {
		t.Error("the source that is gone gets events")
	}
}

// TestSourceOfKEDACanGo deletes sources that KEDA has put its finalizer on.
func TestSourceOfKEDACanGo(t *testing.T) {
	f := start(t)
	for _, fresh := range []func() eventing.Source{
		func() eventing.Source { return &eventing.CloudEventSource{} }, func() eventing.Source { return &eventing.ClusterCloudEventSource{} },
	} {
		source, leads := fresh(), false
		source.SetName("old")
		source.SetFinalizers([]string{v1alpha1.Finalizer})
		if err := f.client.Create(t.Context(), source); err != nil {
			t.Fatal(err)
		}
		if err := f.client.Delete(t.Context(), source); err != nil {
			t.Fatal(err)
		}
		r := &Reconciler{Client: f.client, Sinks: f.Sinks, New: fresh, Leads: func() bool { return leads }}
		request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(source)}
		if result, err := r.Reconcile(t.Context(), request); err != nil || result.RequeueAfter != standby {
			t.Errorf("a standby: %+v, %v", result, err)
		}
		leads = true
		if _, err := r.Reconcile(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		if err := f.client.Get(t.Context(), request.NamespacedName, source); !apierrors.IsNotFound(err) {
			t.Errorf("%T is still there: %v", source, err)
		}
	}
}

// What waits for a sink that is given up, replaced or removed waits no longer.
func TestNothingWaitsForASinkThatIsGone(t *testing.T) {
	f := start(t)
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-hang
		w.WriteHeader(http.StatusInternalServerError)
	}))
	release := sync.OnceFunc(func() { close(hang) })
	t.Cleanup(func() {
		release()
		server.Close()
	})
	spec := eventing.CloudEventSourceSpec{Destination: eventing.Destination{HTTP: &eventing.HTTPDestination{URI: server.URL}}}
	waiting := func(want float64) {
		t.Helper()
		tick, deadline := time.NewTicker(time.Millisecond), time.After(time.Minute)
		defer tick.Stop()
		for testutil.ToFloat64(f.metrics.queued.WithLabelValues("shop")) != want {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%v wait, want %v", testutil.ToFloat64(f.metrics.queued.WithLabelValues("shop")), want)
			}
		}
	}
	send := func() {
		for range 5 {
			f.send(event{kind: "keda.scaledobject.ready.v1", object: "scaledobject", namespace: "shop", name: "worker"})
		}
		waiting(4) // one is on its way
	}
	f.apply("shop", "audit", spec)
	send()
	f.apply("shop", "audit", spec)
	waiting(0)
	send()
	f.remove(types.NamespacedName{Namespace: "shop", Name: "audit"})
	waiting(0)
	f.apply("shop", "audit", spec)
	send()
	release() // and the sink is given up
	waiting(0)
	f.remove(types.NamespacedName{Namespace: "shop", Name: "audit"})
	if n := testutil.CollectAndCount(f.metrics, "keda_cloudeventsource_events_emitted_total"); n != 0 {
		t.Errorf("%d series of a source that is gone", n)
	}
}

// The series of a namespace end with its last source, and those of one that has
// none when nothing of it waits for a source of the cluster.
func TestSeriesOfANamespaceEnd(t *testing.T) {
	f := start(t)
	uri, got := receiver(t, http.StatusOK)
	f.apply("", "cluster", to(uri))
	f.apply("shop", "one", to(uri))
	f.apply("shop", "two", to(uri))
	for i := range 100 {
		f.happens(fmt.Sprintf("gone-%d", i), "ScaledObjectReady")
		<-got
	}
	series := func() int { return testutil.CollectAndCount(f.metrics, "keda_cloudeventsource_events_queued") }
	if n := series(); n != 1 {
		t.Errorf("%d series of one namespace with sources", n)
	}
	f.remove(types.NamespacedName{Namespace: "shop", Name: "one"})
	if n := series(); n != 1 {
		t.Errorf("%d series while there is a source", n)
	}
	f.remove(types.NamespacedName{Namespace: "shop", Name: "two"})
	if n := series(); n != 0 {
		t.Errorf("%d series of namespaces without sources", n)
	}
}

// A panic stands in the source that it was about, until the next look.
func TestAPanicStandsInItsSource(t *testing.T) {
	f := start(t)
	uri, _ := receiver(t, http.StatusOK)
	f.apply("shop", "audit", to(uri))
	key := types.NamespacedName{Namespace: "shop", Name: "audit"}
	fresh := func() eventing.Source { return &eventing.CloudEventSource{} }
	r := &Reconciler{Client: f.client, Sinks: f.Sinks, New: fresh, Leads: func() bool { return true }}
	if err := r.Defective(t.Context(), key, &guard.Error{Doing: "a CloudEventSource"}); err != nil {
		t.Fatal(err)
	}
	source := fresh()
	if err := f.client.Get(t.Context(), key, source); err != nil {
		t.Fatal(err)
	}
	if active, _ := source.State().Conditions.Get(v1alpha1.ConditionActive); active.Status != metav1.ConditionFalse || active.Message != "a defect of Sluice ended a CloudEventSource: its log has the details" {
		t.Errorf("condition %+v", active)
	}
	if active := f.reconcile(key, fresh); active.Status != metav1.ConditionTrue {
		t.Errorf("condition %+v", active)
	}
}

// TestSinksAnswersStayOut has receivers that try to make the controller ask
// elsewhere, or repeat what they say.
func TestSinksAnswersStayOut(t *testing.T) {
	var elsewhere atomic.Int64
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(inner.Close)
	_, port, _ := net.SplitHostPort(inner.Listener.Addr().String())
	redirects := httptest.NewServer(http.RedirectHandler(inner.URL, http.StatusFound))
	t.Cleanup(redirects.Close)
	talks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("secret"))
	}))
	t.Cleanup(talks.Close)
	for uri, why := range map[string]string{
		redirects.URL:             "the answer is status 302",
		talks.URL:                 "the answer is status 500",
		"http://0.0.0.0:" + port:  "0.0.0.0 is an address of the machine itself",
		"http://127.0.0.9:1":      "127.0.0.9 is an address of the machine itself",
		"http://169.254.169.254/": "169.254.169.254 is a link-local address or a cloud's metadata service",
	} {
		f := start(t)
		gaveUp := make(chan types.NamespacedName, 1)
		f.GaveUp = func(key types.NamespacedName) { gaveUp <- key }
		f.apply("shop", "mine", to(uri))
		f.happens("shop", "ScaledObjectReady")
		active := f.reconcile(<-gaveUp, func() eventing.Source { return &eventing.CloudEventSource{} })
		if active.Message != "not delivered in 6 attempts: "+why {
			t.Errorf("%s: condition %+v", uri, active)
		}
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("%d requests came to where no sink is", n)
	}
}

func TestSinksOfANamespaceAreBounded(t *testing.T) {
	f := start(t)
	uri, _ := receiver(t, http.StatusOK)
	for _, namespace := range []string{"shop", "other", ""} {
		for i := range mostSinks {
			if active := f.apply(namespace, strconv.Itoa(i), to(uri)); active.Status != metav1.ConditionTrue {
				t.Fatalf("condition %+v", active)
			}
		}
	}
	active := f.apply("shop", "more", to(uri))
	if active.Status != metav1.ConditionFalse || active.Message != errTooMany.Error() {
		t.Errorf("condition %+v", active)
	}
	if active := f.apply("shop", "0", to(uri)); active.Status != metav1.ConditionTrue {
		t.Errorf("a change of one that there is: %+v", active)
	}
	f.remove(types.NamespacedName{Namespace: "shop", Name: "0"})
	fresh := func() eventing.Source { return &eventing.CloudEventSource{} }
	if active := f.reconcile(types.NamespacedName{Namespace: "shop", Name: "more"}, fresh); active.Status != metav1.ConditionTrue {
		t.Errorf("when there is room: %+v", active)
	}
}

// TestWaitingEventsAreBounded keeps more than one sink from filling the memory,
// by how many wait or by what each says.
func TestWaitingEventsAreBounded(t *testing.T) {
	s := NewSinks("mine", "keda", slog.New(slog.DiscardHandler))
	s.waiting = newRoom(5)
	s.sinks["shop"] = map[string]*sink{}
	for _, name := range []string{"one", "two"} { // which nobody serves
		s.sinks["shop"][name] = &sink{key: types.NamespacedName{Namespace: "shop", Name: name}, queue: make(chan *event, 4)}
	}
	for range 10 {
		s.send(event{kind: "keda.scaledobject.ready.v1", namespace: "shop", note: strings.Repeat("é", mostOfNote)})
	}
	held := 0
	for _, sink := range s.sinks["shop"] {
		held += len(sink.queue)
		if note := (<-sink.queue).note; len(note) > mostOfNote || !utf8.ValidString(note) {
			t.Errorf("%d bytes are kept", len(note))
		}
	}
	if n := testutil.ToFloat64(s.metrics.queued.WithLabelValues("shop")); held != 5 || s.waiting.all != 5 || n != 5 {
		t.Errorf("%d events wait, counted as %d and %v", held, s.waiting.all, n)
	}
}

// TestASlowSinkFillsNobodysQueue has sinks of many namespaces that take nothing,
// and more events than may wait.
func TestASlowSinkFillsNobodysQueue(t *testing.T) {
	s := NewSinks("mine", "keda", slog.New(slog.DiscardHandler))
	put := func(namespace, name string) *sink { // which nobody serves
		next := &sink{key: types.NamespacedName{Namespace: namespace, Name: name}}
		next.open()
		if s.sinks[namespace] == nil {
			s.sinks[namespace] = map[string]*sink{}
		}
		s.sinks[namespace][name] = next
		return next
	}
	happens := func(namespace string, times int) {
		for range times {
			s.send(event{kind: "keda.scaledobject.ready.v1", namespace: namespace})
		}
	}
	for i := range 20 {
		namespace := fmt.Sprint("slow-", i)
		for n := range mostSinks {
			put(namespace, strconv.Itoa(n))
		}
		happens(namespace, queued+1)
	}
	if s.waiting.all != mostWait {
		t.Errorf("%d events wait", s.waiting.all)
	}
	quiet := put("quiet", "audit")
	happens("quiet", queued)
	if n := len(quiet.queue); n != queued {
		t.Errorf("%d events wait for a sink of a namespace that had none waiting", n)
	}
	if s.waiting.all != mostWait || s.waiting.of["quiet"] != queued {
		t.Errorf("%d events wait, %d of the quiet one", s.waiting.all, s.waiting.of["quiet"])
	}
	for namespace, n := range s.waiting.of { // 32768 in 21 parts, of which one is smaller
		if namespace != "quiet" && (n < 1500 || n > 1700) {
			t.Errorf("%d events of %s wait", n, namespace)
		}
	}
}

// TestANoisyNamespaceFillsNoQueueOfTheCluster has a namespace of which more
// happens than a sink of the cluster takes.
func TestANoisyNamespaceFillsNoQueueOfTheCluster(t *testing.T) {
	s := NewSinks("mine", "keda", slog.New(slog.DiscardHandler))
	all := &sink{key: types.NamespacedName{Name: "all"}}
	all.open()
	s.sinks[""] = map[string]*sink{"all": all}
	send := func(namespace string) bool {
		before := len(all.queue)
		s.send(event{kind: "keda.scaledobject.ready.v1", namespace: namespace})
		return len(all.queue) > before
	}
	waiting := 0
	for send("noisy") {
		waiting++
	}
	if waiting < queued {
		t.Errorf("only %d events wait, while there is room", waiting)
	}
	for i := range 10 {
		if !send(fmt.Sprint("quiet-", i)) {
			t.Errorf("the event of namespace %d is dropped", i)
		}
	}
	s.mu.Lock()
	s.empty(all)
	s.mu.Unlock()
	if s.waiting.all != 0 || len(s.waiting.of) != 0 || all.waiting.all != 0 || len(s.kept) != 0 {
		t.Errorf("%+v, %+v and %v are counted of nothing", s.waiting, all.waiting, s.kept)
	}
}

// Of a sink of the cluster, series of a namespace end with the namespace, after
// they were told once more; and a sink takes along its own, not those of another
// of the same name.
func TestSeriesOfAClusterSinkEndWithTheNamespace(t *testing.T) {
	f := start(t)
	var gone atomic.Bool
	f.Inhabited = func(namespace string) bool { return namespace == "shop" || !gone.Load() }
	uri, got := receiver(t, http.StatusOK)
	f.apply("", "audit", to(uri))
	f.apply("shop", "audit", to(uri))
	namespaces := 20
	for i := range namespaces {
		f.happens(fmt.Sprintf("team-%d", i), "ScaledObjectReady")
		<-got
	}
	f.happens("shop", "ScaledObjectReady") // told to both
	<-got
	<-got
	series := func() int {
		return testutil.CollectAndCount(f.metrics, "keda_cloudeventsource_events_emitted_total")
	}
	tick, deadline := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	both := types.NamespacedName{Namespace: "shop", Name: "audit"}
	counted := func() float64 {
		return f.metrics.emitted.Of(both, "shop", "shop", "audit", "http", "emitted") +
			f.metrics.emitted.Of(types.NamespacedName{Name: "audit"}, "shop", "shop", "audit", "http", "emitted")
	}
	for counted() != 2 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%v events are counted", counted())
		}
	}
	if n := series(); n != namespaces+1 {
		t.Errorf("%d series of %d namespaces", n, namespaces+1)
	}
	gone.Store(true)
	if n := series(); n != namespaces+1 {
		t.Errorf("%d series at the first scrape after the end", n)
	}
	if n := series(); n != 1 {
		t.Errorf("%d series of one namespace", n)
	}
	f.remove(types.NamespacedName{Name: "audit"})
	if n := series(); n != 1 || counted() != 1 {
		t.Errorf("%d series, with %v events, of the sink that is left", n, counted())
	}
	f.remove(both)
	if n := series(); n != 0 {
		t.Errorf("%d series of no sink", n)
	}
}

// What is on its way when its source goes brings no series back.
func TestADeliveryAfterTheEndIsNotCounted(t *testing.T) {
	f := start(t)
	uri, _ := receiver(t, http.StatusOK)
	f.apply("shop", "mine", to(uri))
	key := types.NamespacedName{Namespace: "shop", Name: "mine"}
	f.mu.Lock()
	sink := f.sinks["shop"]["mine"]
	f.mu.Unlock()
	f.remove(key)
	if err := f.deliver(t.Context(), sink, &event{kind: "keda.scaledobject.ready.v1", namespace: "shop"}); err != nil {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(f.metrics, "keda_cloudeventsource_events_emitted_total"); n != 0 {
		t.Errorf("%d series of a source that is gone", n)
	}
}

// What is dropped is no line of the log each.
func TestDroppedEventsAreToldOfOnceAMinute(t *testing.T) {
	var log bytes.Buffer
	s, now := NewSinks("mine", "keda", slog.New(slog.NewTextHandler(&log, nil))), time.Unix(1e9, 0)
	s.now = func() time.Time { return now }
	slow := &sink{key: types.NamespacedName{Namespace: "shop", Name: "slow"}}
	slow.open() // and nobody serves it
	s.sinks["shop"] = map[string]*sink{"slow": slow}
	lines := func(events int) (told []string) {
		log.Reset()
		for range events {
			s.send(event{kind: "keda.scaledobject.ready.v1", namespace: "shop"})
		}
		for line := range strings.Lines(log.String()) {
			told = append(told, line)
		}
		return told
	}
	if told := lines(queued + 100); len(told) != 1 || !strings.Contains(told[0], "sink=shop/slow events=1 ") {
		t.Errorf("100 drops are told in %q", told)
	}
	now = now.Add(tellEvery)
	if told := lines(100); len(told) != 1 || !strings.Contains(told[0], "events=100 ") {
		t.Errorf("100 more are told in %q", told)
	}
}
