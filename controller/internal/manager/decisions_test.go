package manager

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/activation"
)

// served is a controller that was asked for decisions.
func served(t *testing.T, leads bool, leader func() (name, address string, err error)) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(decisions{
		record: func(key types.NamespacedName) (activation.Record, bool) {
			return activation.Record{Changes: []v1alpha1.Decision{{Message: "0 to 9 replicas"}}}, leads && key.Name == "worker"
		},
		leads:  func() bool { return leads },
		leader: func(context.Context) (string, string, error) { return leader() },
		client: http.DefaultClient,
	})
	t.Cleanup(server.Close)
	return server
}

func nobody() (name, address string, err error) { return "", "", errors.New("nobody holds the lease") }

func TestDecisionsAreThoseOfTheLeader(t *testing.T) {
	leader, deposed := served(t, true, nobody), served(t, false, nobody)
	at := func(s *httptest.Server) func() (name, address string, err error) {
		return func() (string, string, error) { return "controller-a", strings.TrimPrefix(s.URL, "http://"), nil }
	}
	for name, tt := range map[string]struct {
		asked  *httptest.Server
		query  string
		status int
		says   string
		named  string
	}{
		"the leader":                   {leader, "?namespace=shop&name=worker", http.StatusOK, `"message": "0 to 9 replicas"`, ""},
		"without an object":            {leader, "", http.StatusBadRequest, "namespace and name are required", ""},
		"without a name":               {leader, "?namespace=shop", http.StatusBadRequest, "namespace and name are required", ""},
		"about another object":         {leader, "?namespace=shop&name=other", http.StatusNotFound, "ScaledObject shop/other", ""},
		"a standby":                    {served(t, false, at(leader)), "?namespace=shop&name=worker", http.StatusOK, `"message": "0 to 9 replicas"`, "controller-a"},
		"a standby, about another":     {served(t, false, at(leader)), "?namespace=shop&name=other", http.StatusNotFound, "ScaledObject shop/other", "controller-a"},
		"a standby while nobody leads": {deposed, "?namespace=shop&name=worker", http.StatusBadGateway, "nobody holds the lease", ""},
		"a standby that is behind":     {served(t, false, at(deposed)), "?namespace=shop&name=worker", http.StatusServiceUnavailable, "controller-a does not lead any more", "controller-a"},
		"a standby, the leader is silent": {served(t, false, func() (string, string, error) {
			return "controller-a", "127.0.0.1:1", nil
		}), "?namespace=shop&name=worker", http.StatusBadGateway, `the leader, "controller-a", could not be asked`, "controller-a"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.asked.URL+decisionsPath+tt.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := tt.asked.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			if err := errors.Join(err, answer.Body.Close()); err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != tt.status || !strings.Contains(string(body), tt.says) || answer.Header.Get(leaderHeader) != tt.named {
				t.Errorf("%s of %q: %s", answer.Status, answer.Header.Get(leaderHeader), body)
			}
		})
	}
}

func TestTheLeaderIsFoundByItsLease(t *testing.T) {
	o := Options{Namespace: "sluice-system", LeaderElectionID: kedaLease, MetricsAddress: ":8080"}
	held := lease("sluice-system", time.Now(), func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = ptr.To("controller-a_0000") })
	pod := func(name string) *corev1.ObjectReference { return &corev1.ObjectReference{Kind: "Pod", Name: name} }
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: "webhook"},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.1"}, TargetRef: pod("controller-b")}, {Addresses: []string{"fd00::2"}, TargetRef: pod("controller-a")},
		},
	}
	name, address, err := leaderOf(fake.NewClientset(held, slice), o)(t.Context())
	if name != "controller-a" || address != "[fd00::2]:8080" || err != nil {
		t.Errorf("%q at %q, %v", name, address, err)
	}
	if name, _, err := leaderOf(fake.NewClientset(held), o)(t.Context()); name != "controller-a" || err == nil {
		t.Errorf("without an address: %q, %v", name, err)
	}
	if _, _, err := leaderOf(fake.NewClientset(), o)(t.Context()); err == nil {
		t.Error("without a lease: no error")
	}
}
