package objects

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api answers lists as an API server does: in pages, of which one is too old by
// then, and with refusals.
type api struct {
	t       *testing.T
	count   int               // of ScaledObjects
	bytes   int               // that each of them has more
	most    int64             // bytes that are kept, when given
	status  map[string]int    // of resources that are refused
	expired bool              // the second page is, once
	asked   map[string]int    // by resource
	limits  map[string]string // that were asked for
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource := parts[len(parts)-1]
	a.asked[resource]++
	a.limits[resource] = r.URL.Query().Get("limit")
	w.Header().Set("Content-Type", "application/json")
	fail := func(code int, reason, token string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": %d, "reason": %q, "message": "no", "metadata": {"continue": %q}}`, code, reason, token)
	}
	switch a.status[resource] {
	case http.StatusForbidden:
		fail(http.StatusForbidden, "Forbidden", "")
		return
	case http.StatusNotFound:
		fail(http.StatusNotFound, "NotFound", "")
		return
	}
	type item struct {
		Metadata map[string]any `json:"metadata"`
		Spec     map[string]any `json:"spec"`
		Status   map[string]any `json:"status"`
	}
	list := struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Items      []item         `json:"items"`
	}{parts[1] + "/" + parts[2], "List", map[string]any{}, []item{}}
	if resource == "scaledobjects" {
		from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
		if from > 0 && a.expired {
			a.expired = false
			fail(http.StatusGone, "Expired", strconv.Itoa(from))
			return
		}
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		to := min(from+limit, a.count)
		for i := from; i < to; i++ {
			list.Items = append(list.Items, item{
				Metadata: map[string]any{"name": fmt.Sprintf("o-%d", i), "namespace": "shop", "managedFields": []any{map[string]any{"manager": "helm"}}},
				Spec:     map[string]any{"scaleTargetRef": map[string]any{"name": "a"}, "triggers": []any{}, "future": i == 0},
				Status:   map[string]any{"health": "of a KEDA that is yet to come", "more": strings.Repeat("a", a.bytes)},
			})
		}
		if to < a.count {
			list.Metadata["continue"] = strconv.Itoa(to)
		}
	}
	if err := json.NewEncoder(w).Encode(list); err != nil && a.bytes == 0 { // who reads may have enough
		a.t.Error(err)
	}
}

// read reads what a stand-in for an API server has; the test of the local cluster
// asks a real one.
func (a *api) read(t *testing.T, namespace string) (*Set, error) {
	t.Helper()
	a.t, a.asked, a.limits = t, map[string]int{}, map[string]string{}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	transport := &http.Transport{DisableKeepAlives: true}
	live, err := Connect(&rest.Config{Host: server.URL, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	if a.most > 0 {
		live.most = a.most
	}
	return live.Read(t.Context(), namespace)
}

// TestListsAreReadInPages: all of them, the rest of a list that took too long too.
// What controllers wrote is left out, and a field that Sluice does not have is told.
func TestListsAreReadInPages(t *testing.T) {
	a := &api{count: 2*pageSize + 1, expired: true}
	set, err := a.read(t, "")
	if err != nil || len(set.ScaledObjects) != a.count || len(set.Unread) > 0 {
		t.Fatalf("%v, %v", set, err)
	}
	if a.asked["scaledobjects"] != 4 || a.limits["scaledobjects"] != strconv.Itoa(pageSize) {
		t.Errorf("asked %v for %v", a.asked, a.limits)
	}
	first := Key{"ScaledObject", "shop", "o-0"}
	if have := set.Unknown[first]; len(have) != 1 || have[0] != "spec.future" {
		t.Errorf("unknown fields %v", have)
	}
}

// TestLargeObjectsAreReadInSmallPages: objects are as large as an API server lets
// them be, and all of them together no larger than what is kept.
func TestLargeObjectsAreReadInSmallPages(t *testing.T) {
	a := &api{count: 20, bytes: 1 << 20}
	set, err := a.read(t, "")
	if err != nil || len(set.ScaledObjects) != a.count {
		t.Fatalf("%d objects, %v", len(set.ScaledObjects), err)
	}
	if a.limits["scaledobjects"] != "7" {
		t.Errorf("asked for pages of %s", a.limits["scaledobjects"])
	}
	a.most = 10 << 20
	if _, err := a.read(t, ""); err == nil || !strings.Contains(err.Error(), "more than 10 MiB of objects; -n checks one namespace") {
		t.Errorf("error %v", err)
	}
}

// TestRightsAndKindsThatAreMissing: each has its own words.
func TestRightsAndKindsThatAreMissing(t *testing.T) {
	for name, tt := range map[string]struct {
		status    map[string]int
		namespace string
		want      string // error
		unread    string
	}{
		"all is there":           {},
		"no KEDA":                {status: map[string]int{"scaledobjects": 404}, want: "this cluster has no scaledobjects.keda.sh: it has neither KEDA nor Sluice"},
		"no events":              {status: map[string]int{"cloudeventsources": 404, "clustercloudeventsources": 404}},
		"one namespace alone":    {status: map[string]int{"scaledobjects": 403}, want: "you may not list scaledobjects.keda.sh in all namespaces; -n checks one"},
		"not even that":          {status: map[string]int{"scaledobjects": 403}, namespace: "shop", want: "you may not list scaledobjects.keda.sh in namespace shop: no"},
		"nothing of the cluster": {status: map[string]int{"clustertriggerauthentications": 403}, namespace: "shop", unread: "you may not list clustertriggerauthentications.keda.sh"},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := (&api{status: tt.status}).read(t, tt.namespace)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %s", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			have := ""
			for _, u := range set.Unread {
				have += u.Problem
			}
			if have != tt.unread {
				t.Errorf("unread %q, want %q", have, tt.unread)
			}
		})
	}
}

// TestFilesAreBounded: a text that is too large, and too many of them.
func TestFilesAreBounded(t *testing.T) {
	large := strings.NewReader(strings.Repeat("a", mostOfFile+1))
	if _, err := Files([]string{"-"}, large, "default"); err == nil || !strings.Contains(err.Error(), "has more than 16 MiB") {
		t.Errorf("error %v", err)
	}
	var many strings.Builder
	many.WriteString(`{"apiVersion": "v1", "kind": "List", "items": [`)
	for range MostObjects {
		many.WriteString(`{"apiVersion": "a/v1", "kind": "B"},`)
	}
	many.WriteString(`{"apiVersion": "a/v1", "kind": "B"}]}`)
	if _, err := Files([]string{"-"}, strings.NewReader(many.String()), "default"); err == nil || !strings.Contains(err.Error(), "more than 100000 objects") {
		t.Errorf("error %v", err)
	}
}

// TestFilesAreHeldAgainstACluster: its objects count beside those of files, and a
// file says what becomes of one that is in both.
func TestFilesAreHeldAgainstACluster(t *testing.T) {
	const file = `{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: o-0, namespace: shop}, spec: {scaleTargetRef: {name: b}}}
---
{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: mine, namespace: shop}, spec: {scaleTargetRef: {name: a}}}
`
	beside := func(a *api) (*Set, *Cluster, error) {
		a.t, a.asked, a.limits = t, map[string]int{}, map[string]string{}
		server := httptest.NewServer(a)
		t.Cleanup(server.Close)
		live, err := Connect(&rest.Config{Host: server.URL, Transport: &http.Transport{DisableKeepAlives: true}})
		if err != nil {
			t.Fatal(err)
		}
		set, err := Files([]string{"-"}, strings.NewReader(file), "default")
		if err != nil {
			t.Fatal(err)
		}
		return set, live, live.Beside(t.Context(), set)
	}
	set, live, err := beside(&api{count: 2})
	if err != nil {
		t.Fatal(err)
	}
	var list v1alpha1.ScaledObjectList
	err = NewReader(set, live).List(t.Context(), &list, client.InNamespace("shop"), client.MatchingFields{rules.ByTarget: "a"})
	var names []string
	for _, so := range list.Items {
		names = append(names, so.Name)
	}
	if have := strings.Join(names, " "); err != nil || have != "mine o-1" {
		t.Errorf("%s have target a, %v", have, err)
	}
	for status, want := range map[int]string{
		http.StatusNotFound: "has neither Sluice nor KEDA; check without --cluster", http.StatusForbidden: "scaledobjects.keda.sh in namespace shop: no",
	} {
		if _, _, err := beside(&api{status: map[string]int{"scaledobjects": status}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestScaledIsReadWithItsStatus: and one that makes no sense counts as none.
func TestScaledIsReadWithItsStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		status    map[string]int
		namespace string
		want      string
	}{
		"all":                 {},
		"no KEDA":             {status: map[string]int{"scaledobjects": 404}, want: "this cluster has no scaledobjects.keda.sh"},
		"one namespace alone": {status: map[string]int{"scaledjobs": 403}, want: "you may not list scaledjobs.keda.sh in all namespaces; -n asks for one"},
		"not even that":       {status: map[string]int{"horizontalpodautoscalers": 403}, namespace: "shop", want: "you may not list horizontalpodautoscalers.autoscaling in namespace shop: no"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &api{t: t, count: pageSize + 1, status: tt.status, asked: map[string]int{}, limits: map[string]string{}}
			server := httptest.NewServer(a)
			defer server.Close()
			live, err := Connect(&rest.Config{Host: server.URL, Transport: &http.Transport{DisableKeepAlives: true}})
			if err != nil {
				t.Fatal(err)
			}
			have, err := live.Scaled(t.Context(), tt.namespace)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %s", err, tt.want)
				}
				return
			}
			if err != nil || len(have.ScaledObjects) != a.count || have.ScaledObjects[0].Name != "o-0" || have.ScaledObjects[0].Status.Health != nil {
				t.Errorf("%d objects, %v", len(have.ScaledObjects), err)
			}
		})
	}
}
