package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube/kubetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// behind makes the Service shop/api with port 80, whose Pods listen on target.
func behind(server *kubetest.Server, target int, addresses ...string) {
	number, name := int32(target), "web"
	var endpoints []discoveryv1.Endpoint
	for i, address := range addresses {
		endpoints = append(endpoints, discoveryv1.Endpoint{
			Addresses: []string{address},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("pod-%d", i)},
		})
	}
	server.Put(
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "admin", Port: 81}, {Name: name, Port: 80}}},
		},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api-1", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}},
			Ports:      []discoveryv1.EndpointPort{{Name: &name, Port: &number}},
			Endpoints:  endpoints,
		},
		// Somebody else's.
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "other-1", Labels: map[string]string{discoveryv1.LabelServiceName: "other"}},
			Ports:      []discoveryv1.EndpointPort{{Name: &name, Port: &number}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.99"}}},
		},
	)
}

// listenEverywhere answers on every address of the loopback device, which on
// Linux are sixteen million: each stands for a Pod.
func listenEverywhere(t *testing.T, handler http.HandlerFunc) (port int) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = l
	server.Config.ErrorLog = quiet()
	server.Start()
	t.Cleanup(server.Close)
	return l.Addr().(*net.TCPAddr).Port
}

func TestAggregation(t *testing.T) {
	api := kubetest.Start(t)
	answers := map[string]string{"127.0.1.1": "1", "127.0.1.2": "4", "127.0.1.3": "7"}
	port := listenEverywhere(t, func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		text, known := answers[host]
		if !known || r.URL.Query().Get("q") != "a b" || r.URL.Path != "/stats" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"n": %s}`, text)
	})
	behind(api, port, "127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4")
	in := func(kind string) map[string]string {
		return trigger("http://api.shop.svc.cluster.local/stats?q=a+b", map[string]string{
			"aggregateFromKubeServiceEndpoints": "true", "aggregationType": kind,
		})
	}
	family := scalertest.Serve(t, triggers...)
	for kind, want := range map[string]float64{"average": 4, "sum": 12, "max": 7, "min": 1, "": 4} {
		got, err := family.Observe(t.Context(), "metrics-api", in(kind))
		if err != nil || got.Value != want {
			t.Errorf("%s: %+v, %v, want %v", kind, got, err, want)
		}
	}
	with := func(changes map[string]string) map[string]string {
		metadata := in("sum")
		maps.Copy(metadata, changes)
		return metadata
	}
	const none = "metrics-api: Service shop/%s has no endpoint that is ready"
	for name, tt := range map[string]struct {
		metadata map[string]string
		code     codes.Code
		message  string
	}{
		"no such Service": {with(map[string]string{"url": "http://nobody.shop/x"}), codes.NotFound, fmt.Sprintf(none, "nobody")},
		"all fail": {with(map[string]string{"url": "http://api.shop/other"}), codes.NotFound,
			fmt.Sprintf("metrics-api: none of 4 endpoints answers with a number: GET http://127.0.1.1:%d/other: 404 Not Found", port)},
		"no number anywhere": {with(map[string]string{"valueLocation": "m", "url": "http://api.shop/stats?q=a+b"}), codes.NotFound,
			"metrics-api: none of 4 endpoints answers with a number: the answer: nothing stands at m"},
	} {
		_, err := family.Observe(t.Context(), "metrics-api", tt.metadata)
		if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
			t.Errorf("%s: error = %v, want %v %q", name, err, tt.code, tt.message)
		}
	}
	// Pods come and go.
	behind(api, port, "127.0.1.3")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for value := 0.0; value != 7; {
		got, err := family.Observe(ctx, "metrics-api", in("sum"))
		if err != nil {
			t.Fatal(err)
		}
		value = got.Value
	}
}

// TestAggregationWithoutPermission names what is missing.
func TestAggregationWithoutPermission(t *testing.T) {
	api := kubetest.Start(t)
	behind(api, 80, "127.0.1.1")
	api.Forbid("endpointslices", "shop", true)
	_, err := scalertest.Serve(t, triggers...).Observe(t.Context(), "metrics-api",
		trigger("http://api.shop/x", map[string]string{"aggregateFromKubeServiceEndpoints": "true"}))
	const want = "metrics-api: endpointslices of namespace shop: ServiceAccount scaler-test of namespace sluice-system may not read them; " +
		"grant it with: kubectl create rolebinding sluice-scaler-http --namespace=shop --clusterrole=sluice-scaler-http --serviceaccount=sluice-system:scaler-test"
	if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want PermissionDenied %q", err, want)
	}
}

// TestAddresses is about where the requests go.
func TestAddresses(t *testing.T) {
	no, web, admin := false, "web", "admin"
	eight, nine := int32(8080), int32(9090)
	pod := func(name string, addresses ...string) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: addresses, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: name}}
	}
	leaving := pod("c", "10.0.0.3")
	leaving.Conditions.Ready = &no
	slice := func(name string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "api"}},
			Ports:      []discoveryv1.EndpointPort{{Name: &web, Port: &eight}, {Name: &admin, Port: &nine}},
			Endpoints:  endpoints,
		}
	}
	api := kubetest.Start(t)
	api.Put(
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: web, Port: 80}, {Name: admin, Port: 8443}}},
		},
		slice("v4", pod("a", "10.0.0.1"), pod("b", "10.0.0.2"), leaving),
		slice("v6", pod("a", "fd00::1"), pod("b", "fd00::2"), pod("d", "fd00::4")),
		slice("more", discoveryv1.Endpoint{Addresses: []string{"10.0.0.5"}}, discoveryv1.Endpoint{Addresses: []string{"10.0.0.5"}}),
	)
	tests := map[string]struct{ url, port, path string }{
		"the Service's port by scheme": {"http://api.shop/a%2Fb?q=1&r", "8080", "/a%2Fb?q=1&r"},
		"the Service's port by number": {"https://api.shop.svc:8443/x", "9090", "/x"},
		"the Pods' own port":           {"http://api.shop:8080", "8080", ""},
		"a port of nobody":             {"http://api.shop:1234/", "1234", "/"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, release := scaler.Opening(t.Context())
			defer release()
			e, err := watchEndpoints(ctx, tt.url)
			if err != nil {
				t.Fatal(err)
			}
			hosts, err := e.addresses(t.Context())
			u, _ := url.Parse(tt.url)
			var got, want []string
			for _, host := range hosts {
				got = append(got, (&page{url: u}).at(host))
			}
			for _, host := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.5", "[fd00::4]"} {
				want = append(want, u.Scheme+"://"+host+":"+tt.port+tt.path)
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("addresses = %s, %v, want %s", strings.Join(got, " "), err, strings.Join(want, " "))
			}
		})
	}
}
