package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube/kubetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// phases keeps the phase of Pods.
var phases = Kind[*corev1.Pod, string]{
	Group: corev1.SchemeGroupVersion, Resource: "pods", Role: "pod-reader",
	Keep: func(p *corev1.Pod) string { return string(p.Status.Phase) },
	Size: func(phase string) int { return len(phase) },
}

func pod(name, phase string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": name}},
		Status:     corev1.PodStatus{Phase: corev1.PodPhase(phase)},
	}
}

// watching opens a view until the test ends.
func watching(t *testing.T, selection Selection) *View[string] {
	t.Helper()
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	view, err := phases.Watch(ctx, selection)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// seen is what a view has, "a=Running b=Pending", or the error.
func seen(ctx context.Context, view *View[string]) (string, error) {
	objects := map[string]string{}
	err := view.Visit(ctx, func(name, phase string) { objects[name] = phase })
	var list []string
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		list = append(list, name+"="+objects[name])
	}
	return strings.Join(list, " "), err
}

// until waits for what the view should say, an error's text included.
func until(t *testing.T, view *View[string], want string) {
	t.Helper()
	ctx := within(t)
	for {
		view.mu.RLock()
		news := view.news
		view.mu.RUnlock()
		got, err := seen(ctx, view)
		if err != nil {
			got = status.Convert(err).Message()
		}
		if strings.Contains(got, want) && (want != "" || got == "") {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatalf("the view says %q, want %q", got, want)
		}
	}
}

// Objects are gone through in turn with all else that the family computes.
func TestVisitsTakeTurns(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(pod("a", "Running"))
	view := watching(t, Selection{Namespace: "shop"})
	until(t, view, "a=Running")
	scalertest.NobodyComputes(t, func(ctx context.Context) error {
		return view.Visit(ctx, func(string, string) {})
	})
}

func TestViewFollows(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(pod("a", "Running"))
	view := watching(t, Selection{Namespace: "shop"})
	until(t, view, "a=Running")
	server.Put(pod("b", "Pending"))
	until(t, view, "a=Running b=Pending")
	server.Put(pod("b", "Running"))
	until(t, view, "b=Running")
	server.Delete(pod("a", ""))
	server.Put(pod("c", "Running"))
	until(t, view, "b=Running c=Running")
	server.Cut()
	server.Put(pod("d", "Failed"))
	until(t, view, "d=Failed")
}

func TestViewSelects(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(pod("a", "Running"), pod("b", "Running"))
	for want, selection := range map[string]Selection{
		"a=Running": {Namespace: "shop", Name: "a"},
		"b=Running": {Namespace: "shop", Labels: "app in (b,c)"},
		"":          {Namespace: "bank"},
	} {
		got, err := seen(within(t), watching(t, selection))
		if err != nil || got != want {
			t.Errorf("%+v: %q, %v, want %q", selection, got, err, want)
		}
	}
}

// TestOneWatchForAll proves that the number of watches is that of selections.
func TestOneWatchForAll(t *testing.T) {
	server := kubetest.Start(t)
	ctx, release := scaler.Opening(t.Context())
	defer release()
	for i := range 1000 {
		view, err := phases.Watch(ctx, Selection{Namespace: fmt.Sprintf("shop-%d", i%2)})
		if err != nil {
			t.Fatal(err)
		}
		if err := view.Visit(within(t), func(string, string) {}); err != nil {
			t.Fatal(err)
		}
	}
	if got := server.Requests("pods"); got > 4 {
		t.Errorf("%d requests for two selections, want at most a list and a watch each", got)
	}
}

func TestRefusalSaysHowToGrant(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(pod("a", "Running"))
	server.Forbid("pods", "shop", true)
	view := watching(t, Selection{Namespace: "shop"})
	_, err := seen(within(t), view)
	const want = "pods of namespace shop: ServiceAccount scaler-test of namespace sluice-system may not read them; " +
		"grant it with: kubectl create rolebinding pod-reader --namespace=shop --clusterrole=pod-reader --serviceaccount=sluice-system:scaler-test"
	if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want PermissionDenied %q", err, want)
	}
	server.Forbid("pods", "shop", false)
	until(t, view, "a=Running")
	server.Forbid("pods", "shop", true)
	until(t, view, "may not read them")
}

// TestOldAnswerIsNone proves that what was seen before the server went away is
// not told as what there is.
func TestOldAnswerIsNone(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(pod("a", "Running"))
	view := watching(t, Selection{Namespace: "shop"})
	until(t, view, "a=Running")
	server.Break(true)
	until(t, view, "pods of namespace shop: API server: etcd is gone")
	if _, err := seen(within(t), view); status.Code(err) != codes.Unavailable {
		t.Errorf("error = %v, want Unavailable", err)
	}
	server.Break(false)
	until(t, view, "a=Running")
}

// answering is a server that says the same to everybody, and breaks off.
func answering(code int, text string) func(testing.TB) string {
	return func(t testing.TB) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, text)
		}))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
}

// TestSlowServer waits for an answer as long as the caller does.
func TestSlowServer(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(pod("a", "Running"))
	server.Stall()
	view := watching(t, Selection{Namespace: "shop"})
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := seen(short, view); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error = %v, want DeadlineExceeded", err)
	}
	server.Resume()
	until(t, view, "a=Running")
}

func TestServerThatIsNotThere(t *testing.T) {
	for name, tt := range map[string]struct {
		address func(testing.TB) string
		code    codes.Code
		message string
	}{
		"dead":           {scalertest.DeadAddress, codes.Unavailable, "connection refused"},
		"stalled":        {scalertest.StalledAddress, codes.DeadlineExceeded, "the API server does not answer in time"},
		"half an answer": {answering(http.StatusOK, `{"kind": "PodList", "items": [{"meta`), codes.Unavailable, "API server: "},
		"something else": {answering(http.StatusOK, `<html>hush-hush</html>`), codes.Unavailable, "API server: "},
		"a refused token": {answering(http.StatusUnauthorized, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Unauthorized", "code": 401}`),
			codes.Unauthenticated, "the API server does not accept the token of the ServiceAccount"},
	} {
		t.Run(name, func(t *testing.T) {
			kubetest.Point(t, tt.address(t))
			view := watching(t, Selection{Namespace: "shop", Name: "a"})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := seen(ctx, view)
			message := status.Convert(err).Message()
			if status.Code(err) != tt.code || !strings.HasPrefix(message, "pods shop/a: ") || !strings.Contains(message, tt.message) || strings.Contains(message, "hush-hush") {
				t.Errorf("error = %v, want %v %q", err, tt.code, tt.message)
			}
		})
	}
}

func TestNamespaceIsNeeded(t *testing.T) {
	ctx, release := scaler.Opening(t.Context())
	defer release()
	if _, err := phases.Watch(ctx, Selection{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("error = %v, want InvalidArgument", err)
	}
}

func TestRings(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(pod("a", "Pending"))
	view := watching(t, Selection{Namespace: "shop"})
	rang := make(chan struct{}, 100)
	listening := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- view.Listen(ctx, func() { close(listening) }, func() { rang <- struct{}{} },
			func(_, after *string) bool { return after != nil && *after == "Running" })
	}()
	await(t, listening)
	for len(rang) > 0 { // the first listing
		<-rang
	}
	server.Put(pod("a", "Failed"), pod("b", "Pending"))
	server.Delete(pod("b", ""))
	until(t, view, "a=Failed")
	if len(rang) > 0 {
		t.Error("a change rang that concerns nobody")
	}
	server.Put(pod("a", "Running"))
	await(t, rang)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("listening ended with %v", err)
	}
}

func await(t *testing.T, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-within(t).Done():
		t.Fatal("nothing happened")
	}
}

// TestWhatIsKeptIsBounded: whoever makes objects in a namespace has no more kept
// than a share, and no number of some of them for all.
func TestWhatIsKeptIsBounded(t *testing.T) {
	before := watched
	watched = client.NewAllowance("bytes of watched objects", 3*perObject, 0)
	t.Cleanup(func() { watched = before })
	server := kubetest.Start(t)
	server.Put(pod("a", "Running"), pod("b", "Running"))
	view := watching(t, Selection{Namespace: "shop"})
	until(t, view, "a=Running b=Running")
	server.Put(pod("c", "Running"))
	const want = `pods of namespace shop: the triggers of namespace "" would have this family hold more than 768 bytes of watched objects`
	until(t, view, want)
	if _, err := seen(within(t), view); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("error = %v, want ResourceExhausted", err)
	}
	view.mu.RLock()
	kept := len(view.objects)
	view.mu.RUnlock()
	if kept > 0 {
		t.Errorf("%d objects are kept", kept)
	}
	server.Delete(pod("a", ""))
	until(t, view, "b=Running c=Running")
	if err := view.Close(); err != nil {
		t.Fatal(err)
	}
	if err := watched.Of(t.Context()).Set(3 * perObject); err != nil {
		t.Errorf("not all was given back: %v", err)
	}
}

// TestListsKeepNothingOfObjects: of objects that are listed nothing stands in memory but
// what is kept of them, however large they are, and of a list that is too large next to
// nothing.
func TestListsKeepNothingOfObjects(t *testing.T) {
	const pods = 40
	large := pod("large", "Running")
	large.Finalizers = []string{strings.Repeat("f", 100<<10)}
	large.OwnerReferences = []metav1.OwnerReference{{Name: strings.Repeat("o", 100<<10)}}
	for i := range 5_000 {
		large.Labels[fmt.Sprint("l", i)] = ""
	}
	before := watched
	watched = client.NewAllowance("bytes of watched objects", 1<<20, 0)
	t.Cleanup(func() { watched = before })
	of := store[*corev1.Pod, string]{view: &View[string]{held: watched.Of(t.Context()), news: make(chan struct{})}, kind: phases}
	everything := of
	everything.kind.Keep = func(p *corev1.Pod) string { return p.Finalizers[0] }
	for name, tt := range map[string]struct {
		of      store[*corev1.Pod, string]
		most    int64
		refused bool
	}{"little is kept": {of, 100 << 10, false}, "much is kept": {everything, 2 << 20, true}} {
		t.Run(name, func(t *testing.T) {
			tt.of.view.beginList()
			keep := tt.of.Transformer()
			listed := make([]any, pods)
			held := func() int64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc)
			}
			before := held()
			for i := range listed {
				copied := large.DeepCopy()
				copied.Name, copied.Finalizers[0] = fmt.Sprint("p", i), strings.Repeat("g", 100<<10)
				var err error
				if listed[i], err = keep(copied); err != nil {
					t.Fatal(err)
				}
			}
			if grown := held() - before; grown > tt.most {
				t.Errorf("%d KiB are kept of a list", grown>>10)
			}
			if err := tt.of.Replace(listed, ""); (err != nil) != tt.refused || (tt.of.view.objects == nil) != tt.refused {
				t.Errorf("%v, and %d objects", err, len(tt.of.view.objects))
			}
		})
	}
}

// TestListsComeByPages: a server that does not stream lists is asked for pages, and for
// smaller ones where they are large.
func TestListsComeByPages(t *testing.T) {
	var most atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		w.Header().Set("Content-Type", "application/json")
		if query.Get("watch") != "" {
			if query.Get("sendInitialEvents") != "" {
				w.WriteHeader(http.StatusUnprocessableEntity)
				fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422}`)
				return
			}
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		limit, err := strconv.Atoi(query.Get("limit"))
		if err != nil || query.Get("resourceVersion") != "" {
			t.Errorf("asked for %s", r.URL)
		}
		at, _ := strconv.Atoi(query.Get("continue"))
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
		for ; limit > 0 && at < 10; limit-- {
			one := pod(fmt.Sprint("p", at), "Running")
			one.Annotations = map[string]string{"x": strings.Repeat("x", 1<<20)}
			list.Items = append(list.Items, *one)
			at++
		}
		if at < 10 {
			list.Continue = fmt.Sprint(at)
		}
		most.Store(max(most.Load(), int64(len(list.Items))))
		_ = json.NewEncoder(w).Encode(list)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	kubetest.Point(t, s.Listener.Addr().String())
	view := watching(t, Selection{Namespace: "shop"})
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprintf("p%d=Running", i))
	}
	until(t, view, strings.Join(want, " "))
	if most.Load() != 10 { // of the first page, which was refused
		t.Errorf("pages of %d", most.Load())
	}
	if n := len(pages); n != 0 {
		t.Error("the turn of a page is lost")
	}
}

// TestRefusedListsLeaveNoWatch: each of the attempts at a list that is refused ends the
// watch that it came over.
func TestRefusedListsLeaveNoWatch(t *testing.T) {
	before := watched
	watched = client.NewAllowance("bytes of watched objects", 1, 0)
	t.Cleanup(func() { watched = before })
	server := kubetest.Start(t)
	server.Put(pod("a", "Running"))
	view := watching(t, Selection{Namespace: "shop"})
	until(t, view, `pods of namespace shop: the triggers of namespace "" would have this family hold more than 1 bytes of watched objects`)
	watchers := func() int {
		t.Helper()
		var text strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&text, 2); err != nil {
			t.Fatal(err)
		}
		return strings.Count(text.String(), "created by k8s.io/apimachinery/pkg/watch.NewStreamWatcher")
	}
	ctx := within(t)
	for lists := server.Requests("pods"); server.Requests("pods") < lists+6; {
		view.mu.RLock()
		news := view.news
		view.mu.RUnlock()
		select {
		case <-ctx.Done():
			t.Fatal("it is not listed anew")
		case <-news:
		}
	}
	if n := watchers(); n > 2 { // the one under way, and one that is about to end
		t.Errorf("%d watches are open", n)
	}
}
