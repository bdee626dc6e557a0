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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// asked is the answer of a controller that is asked for decisions.
func asked(t *testing.T, from string, leads bool, leader, query string) *http.Response {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, account.Path+query, nil)
	request.RemoteAddr = from
	recorder := httptest.NewRecorder()
	decisions{
		accounts: map[string]func(types.NamespacedName) (account.Account, bool){
			account.ScaledObject: func(key types.NamespacedName) (account.Account, bool) {
				return account.Account{Changes: []v1alpha1.Decision{{Message: "0 to 9 replicas"}}}, leads && key.Name == "worker"
			},
			account.ScaledJob: func(key types.NamespacedName) (account.Account, bool) {
				return account.Account{Times: 7}, leads && key.Name == "batch"
			},
		},
		now:   func() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) },
		leads: func() bool { return leads },
		leader: func(context.Context) (string, error) {
			if leader == "" {
				return "", errors.New("nobody holds the lease")
			}
			return leader, nil
		},
	}.ServeHTTP(recorder, request)
	return recorder.Result()
}

func TestDecisionsAreThoseOfTheLeader(t *testing.T) {
	const inside, worker = "127.0.0.1:40000", "?namespace=shop&name=worker"
	for name, tt := range map[string]struct {
		from   string
		leads  bool
		leader string
		query  string
		status int
		says   string
	}{
		"the leader":                   {inside, true, "", worker, http.StatusOK, `"message": "0 to 9 replicas"`},
		"by its own clock":             {inside, true, "", worker, http.StatusOK, `"now": "2026-05-01T12:00:00Z"`},
		"a ScaledObject by its kind":   {inside, true, "", worker + "&kind=ScaledObject", http.StatusOK, `"message": "0 to 9 replicas"`},
		"a ScaledJob":                  {inside, true, "", "?kind=ScaledJob&namespace=shop&name=batch", http.StatusOK, `"times": 7`},
		"another ScaledJob":            {inside, true, "", worker + "&kind=ScaledJob", http.StatusNotFound, "ScaledJob shop/worker"},
		"about another kind":           {inside, true, "", worker + "&kind=Job", http.StatusBadRequest, "neither ScaledObject nor ScaledJob"},
		"over IPv6":                    {"[::1]:40000", true, "", worker, http.StatusOK, `"message": "0 to 9 replicas"`},
		"over both":                    {"[::ffff:127.0.0.1]:40000", true, "", worker, http.StatusOK, `"message": "0 to 9 replicas"`},
		"another Pod":                  {"10.0.0.1:40000", true, "", worker, http.StatusForbidden, "port-forward alone"},
		"another Pod, of a standby":    {"[fd00::1]:40000", false, "controller-a", worker, http.StatusForbidden, "port-forward alone"},
		"nobody knows who":             {"", true, "", worker, http.StatusForbidden, "port-forward alone"},
		"without an object":            {inside, true, "", "", http.StatusBadRequest, "namespace and name are required"},
		"without a name":               {inside, true, "", "?namespace=shop", http.StatusBadRequest, "namespace and name are required"},
		"about another object":         {inside, true, "", "?namespace=shop&name=other", http.StatusNotFound, "ScaledObject shop/other"},
		"a standby":                    {inside, false, "controller-a", worker, http.StatusMisdirectedRequest, "ask controller-a"},
		"a standby while nobody leads": {inside, false, "", worker, http.StatusBadGateway, "nobody holds the lease"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := asked(t, tt.from, tt.leads, tt.leader, tt.query)
			body, err := io.ReadAll(answer.Body)
			if err := errors.Join(err, answer.Body.Close()); err != nil {
				t.Fatal(err)
			}
			named := ""
			if tt.status == http.StatusMisdirectedRequest {
				named = tt.leader
			}
			if answer.StatusCode != tt.status || !strings.Contains(string(body), tt.says) || answer.Header.Get(account.LeaderHeader) != named {
				t.Errorf("%s of %q: %s", answer.Status, answer.Header.Get(account.LeaderHeader), body)
			}
		})
	}
}

func TestTheLeaderIsFoundByItsLease(t *testing.T) {
	o := Options{Namespace: "sluice-system", LeaderElectionID: kedaLease, MetricsAddress: ":8080"}
	held := lease("sluice-system", time.Now(), func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = ptr.To("controller-a_0000") })
	if name, err := leaderOf(fake.NewClientset(held), o)(t.Context()); name != "controller-a" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := leaderOf(fake.NewClientset(), o)(t.Context()); err == nil {
		t.Error("without a lease: no error")
	}
}

// What was compared has readings of every namespace, too.
func TestComparisonsAreToldInsideAlone(t *testing.T) {
	for from, status := range map[string]int{
		"127.0.0.1:40000": http.StatusOK, "[::1]:40000": http.StatusOK, "10.0.0.1:40000": http.StatusForbidden, "[fd00::1]:40000": http.StatusForbidden, "": http.StatusForbidden,
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/shadow", nil)
		request.RemoteAddr = from
		recorder := httptest.NewRecorder()
		fromInside(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "all") })).ServeHTTP(recorder, request)
		if told := recorder.Body.String() == "all"; recorder.Code != status || told != (status == http.StatusOK) {
			t.Errorf("from %q: %d %s", from, recorder.Code, recorder.Body)
		}
	}
}
