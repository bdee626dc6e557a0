package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
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
	Trim: func(p *corev1.Pod) { p.Spec = corev1.PodSpec{} },
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
