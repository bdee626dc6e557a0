// Package kubetest stands in for an API server in tests of families that watch
// Kubernetes objects: it lists and watches over HTTP what a test puts into it,
// and can refuse, fall silent and break off as a real one cannot be made to.
// What a real API server does with permissions is tested on a real one, by the
// end-to-end scenarios.
package kubetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Account is who asks, as a refusal names it.
const Account = "system:serviceaccount:sluice-system:scaler-test"

// Object is what can be put into a Server.
type Object interface {
	runtime.Object
	metav1.Object
}

// Server is the stand-in. It ends with the test.
type Server struct {
	http *httptest.Server

	mu        sync.Mutex
	version   int
	objects   map[key]Object
	events    []event
	news      chan struct{} // closed and renewed at each event
	forbidden map[string]bool
	broken    bool
	stalled   chan struct{} // closed when the server goes on answering; nil when it does
	requests  map[string]int
}

// key is where an object stands: the path of its collection, and its name.
type key struct{ collection, name string }

// event is one change.
type event struct {
	key     key
	kind    string
	version int
	labels  map[string]string
	object  json.RawMessage
}

// Start starts a server and points this test's families at it.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{objects: map[key]Object{}, news: make(chan struct{}), forbidden: map[string]bool{}, requests: map[string]int{}}
	s.http = httptest.NewServer(s)
	t.Cleanup(func() {
		s.Resume()
		s.http.CloseClientConnections()
		s.http.Close()
	})
	Point(t, s.http.Listener.Addr().String())
	return s
}

// Point makes this test's families ask an API server at address.
func Point(t testing.TB, address string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "test",
"clusters": [{"name": "test", "cluster": {"server": "http://%s"}}],
"contexts": [{"name": "test", "context": {"cluster": "test"}}]}`, address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
}

// Put creates or replaces objects.
func (s *Server) Put(objects ...Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, object := range objects {
		k := keyOf(object)
		kind := "MODIFIED"
		if s.objects[k] == nil {
			kind = "ADDED"
		}
		s.objects[k] = object
		s.happen(kind, k, object)
	}
}

// Delete removes objects.
func (s *Server) Delete(objects ...Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, object := range objects {
		k := keyOf(object)
		delete(s.objects, k)
		s.happen("DELETED", k, object)
	}
}

// happen records an event; mu is held.
func (s *Server) happen(kind string, k key, object Object) {
	s.version++
	object.SetResourceVersion(strconv.Itoa(s.version))
	s.events = append(s.events, event{key: k, kind: kind, version: s.version, labels: object.GetLabels(), object: encode(object)})
	close(s.news)
	s.news = make(chan struct{})
}

// Forbid refuses, or allows again, to list and watch a resource of a namespace,
// and ends its watches.
func (s *Server) Forbid(resource, namespace string, refused bool) {
	s.mu.Lock()
	s.forbidden[namespace+"/"+resource] = refused
	s.mu.Unlock()
	s.http.CloseClientConnections()
}

// Break answers every request with 500, or as it should again, and ends the
// watches.
func (s *Server) Break(broken bool) {
	s.mu.Lock()
	s.broken = broken
	s.mu.Unlock()
	s.http.CloseClientConnections()
}

// Stall lets new requests wait until Resume.
func (s *Server) Stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = make(chan struct{})
}

// Resume ends Stall.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stalled != nil {
		close(s.stalled)
		s.stalled = nil
	}
}

// Cut closes all connections once.
func (s *Server) Cut() { s.http.CloseClientConnections() }

// Requests is how often a resource was listed or watched.
func (s *Server) Requests(resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[resource]
}

// ServeHTTP answers GETs of collections and of objects.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(r.URL.Path, "/")
	name := ""
	if resource := path[len(path)-1]; kinds[resource] == "" {
		name, path = resource, path[:len(path)-1]
	}
	namespace, resource := path[len(path)-2], path[len(path)-1]
	s.mu.Lock()
	s.requests[resource]++
	refused, broken, stalled := s.forbidden[namespace+"/"+resource], s.broken, s.stalled
	s.mu.Unlock()
	if stalled != nil {
		select {
		case <-stalled:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case broken:
		fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcd is gone")
	case refused:
		fail(w, http.StatusForbidden, metav1.StatusReasonForbidden,
			fmt.Sprintf(`%s is forbidden: User "%s" cannot list resource "%s" in API group "" in the namespace "%s"`, resource, Account, resource, namespace))
	case name != "":
		s.get(w, key{collection: strings.Join(path, "/"), name: name})
	case r.URL.Query().Get("watch") != "":
		s.watch(w, r, resource)
	default:
		s.list(w, r, resource)
	}
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Reason: reason, Message: message, Code: int32(code),
	})
}

// selected reports whether a request asks for an object.
func selected(r *http.Request, k key, set map[string]string) bool {
	query := r.URL.Query()
	selector, err := labels.Parse(query.Get("labelSelector"))
	name, named := strings.CutPrefix(query.Get("fieldSelector"), "metadata.name=")
	return err == nil && k.collection == r.URL.Path && selector.Matches(labels.Set(set)) && (!named || name == k.name)
}

func (s *Server) get(w http.ResponseWriter, k key) {
	s.mu.Lock()
	object := s.objects[k]
	s.mu.Unlock()
	if object == nil {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, "not found")
		return
	}
	_, _ = w.Write(encode(object))
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, resource string) {
	s.mu.Lock()
	items := s.present(r)
	version := s.version
	s.mu.Unlock()
	if items == nil {
		items = []json.RawMessage{}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": kinds[resource] + "List", "apiVersion": apiVersions[resource],
		"metadata": map[string]string{"resourceVersion": strconv.Itoa(version)}, "items": items,
	})
}

// present are the objects that a request asks for; mu is held.
func (s *Server) present(r *http.Request) []json.RawMessage {
	var items []json.RawMessage
	for k, object := range s.objects {
		if selected(r, k, object.GetLabels()) {
			items = append(items, encode(object))
		}
	}
	return items
}

// watch streams events, after what there is where that is asked for.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, resource string) {
	send := func(kind string, object any) {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": object})
		w.(http.Flusher).Flush()
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		s.mu.Lock()
		items := s.present(r)
		after = s.version
		s.mu.Unlock()
		for _, item := range items {
			send("ADDED", item)
		}
		send("BOOKMARK", map[string]any{
			"kind": kinds[resource], "apiVersion": apiVersions[resource],
			"metadata": map[string]any{
				"resourceVersion": strconv.Itoa(after),
				"annotations":     map[string]string{metav1.InitialEventsAnnotationKey: "true"},
			},
		})
	}
	for {
		s.mu.Lock()
		events, news := s.events, s.news
		s.mu.Unlock()
		for _, e := range events {
			if e.version > after && selected(r, e.key, e.labels) {
				send(e.kind, e.object)
			}
		}
		if len(events) > 0 {
			after = max(after, events[len(events)-1].version)
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// kinds and apiVersions are of the resources that families watch.
var (
	kinds = map[string]string{
		"pods": "Pod", "configmaps": "ConfigMap", "secrets": "Secret", "services": "Service", "endpointslices": "EndpointSlice",
	}
	apiVersions = map[string]string{
		"pods": "v1", "configmaps": "v1", "secrets": "v1", "services": "v1", "endpointslices": "discovery.k8s.io/v1",
	}
)

func resourceOf(object Object) string {
	switch object.(type) {
	case *corev1.Pod:
		return "pods"
	case *corev1.ConfigMap:
		return "configmaps"
	case *corev1.Secret:
		return "secrets"
	case *corev1.Service:
		return "services"
	case *discoveryv1.EndpointSlice:
		return "endpointslices"
	default:
		panic(fmt.Sprintf("no place for a %T", object))
	}
}

func keyOf(object Object) key {
	resource := resourceOf(object)
	base := "/api/v1"
	if strings.Contains(apiVersions[resource], "/") {
		base = "/apis/" + apiVersions[resource]
	}
	namespace := cmp.Or(object.GetNamespace(), metav1.NamespaceDefault)
	return key{collection: base + "/namespaces/" + namespace + "/" + resource, name: object.GetName()}
}

// encode writes an object with its kind, as a server does. Objects of a test
// are of types that can be written.
func encode(object Object) json.RawMessage {
	resource := resourceOf(object)
	plain, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		panic(err)
	}
	plain["kind"], plain["apiVersion"] = kinds[resource], apiVersions[resource]
	text, err := json.Marshal(plain)
	if err != nil {
		panic(err)
	}
	return text
}
