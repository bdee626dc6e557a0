package credentials

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/sluice-autoscaler/sluice/outbound"
)

func TestMain(m *testing.M) {
	outbound.Allow(outbound.Loopback...) // where servers and attackers are
	goleak.VerifyTestMain(m)
}

// apiServer answers as an API server does where a test needs what a real one
// cannot be made to say: refusals, silence and counts. Real ones are asked by
// the end-to-end scenarios.
type apiServer struct {
	http *httptest.Server

	mu       sync.Mutex
	objects  map[string]any // by path
	refused  map[string]int // status codes by path
	requests map[string]int // by method and path
	broken   bool
	tokens   int
}

func startAPI(t *testing.T) *apiServer {
	s := &apiServer{objects: map[string]any{}, refused: map[string]int{}, requests: map[string]int{}}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// put adds an object from YAML.
func (s *apiServer) put(t *testing.T, text string) {
	t.Helper()
	for document := range strings.SplitSeq(text, "\n---\n") {
		var o struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"metadata"`
			StringData map[string]string `json:"stringData"`
		}
		var all map[string]any
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(document), &all); err != nil {
			t.Fatal(err)
		}
		if o.StringData != nil { // as the API server stores it
			data := map[string][]byte{}
			for key, value := range o.StringData {
				data[key] = []byte(value)
			}
			all["data"] = data
		}
		s.mu.Lock()
		s.objects[object{kind: o.Kind, namespace: o.Metadata.Namespace, name: o.Metadata.Name}.path("")] = all
		s.mu.Unlock()
	}
}

// refuse answers a path with a status code from now on; 0 ends it.
func (s *apiServer) refuse(path string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[path] = code
}

// away makes the server answer nothing useful, or ends that.
func (s *apiServer) away(broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = broken
}

func (s *apiServer) count(request string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[request]
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[r.Method+" "+r.URL.Path]++
	w.Header().Set("Content-Type", "application/json")
	answer := func(code int, body any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
	switch {
	case s.broken:
		answer(http.StatusServiceUnavailable, nil)
	case s.refused[r.URL.Path] != 0:
		answer(s.refused[r.URL.Path], map[string]string{"message": "planted-secret-in-an-answer"})
	case strings.HasSuffix(r.URL.Path, "/selfsubjectreviews"):
		answer(http.StatusCreated, map[string]any{"status": map[string]any{"userInfo": map[string]any{
			"username": "system:serviceaccount:sluice-system:scaler-test",
		}}})
	case strings.HasSuffix(r.URL.Path, "/token") && r.Method == http.MethodPost:
		var request tokenRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Kind != "TokenRequest" {
			answer(http.StatusBadRequest, nil)
			return
		}
		s.tokens++
		request.Status.Token = "token-" + string(rune('0'+s.tokens)) + strings.Join(request.Spec.Audiences, "")
		request.Status.ExpirationTimestamp = time.Now().Add(time.Duration(request.Spec.ExpirationSeconds) * time.Second)
		answer(http.StatusCreated, request)
	case r.Method != http.MethodGet || s.objects[r.URL.Path] == nil:
		answer(http.StatusNotFound, nil)
	default:
		answer(http.StatusOK, s.objects[r.URL.Path])
	}
}

// resolver asks the server under the configuration that edit leaves.
func (s *apiServer) resolver(t *testing.T, edit func(*Config)) *Resolver {
	t.Helper()
	config := Config{Cluster: &rest.Config{Host: s.http.URL}, ClusterNamespace: "keda"}
	if edit != nil {
		edit(&config)
	}
	r, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
