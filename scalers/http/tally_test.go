package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/document"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube/kubetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestTally: in whatever order endpoints answer, what they say together is the same.
func TestTally(t *testing.T) {
	numbers := []float64{0.1, 0.2, 0.3, 1e6, -3, 7, 1.1, -1e6, 1e-9}
	want := map[string]scaler.Reading{}
	for range 100 {
		var all tally
		order := rand.Perm(len(numbers))
		for n, at := range order {
			if asked := all.add(at, numbers[at], nil); asked != n+1 {
				t.Fatalf("%d were asked, want %d", asked, n+1)
			}
		}
		all.add(len(numbers)+1, 0, errors.New("later"))
		for kind, combine := range combinations {
			got := all.result(combine)
			if got.Err != nil {
				t.Fatal(got.Err)
			}
			if first, known := want[kind]; known && first != got.Readings[0] {
				t.Errorf("%s: %v after %v, before %v", kind, got.Readings[0], order, first)
			}
			want[kind] = got.Readings[0]
		}
	}
	if sum := want["sum"].Value; math.Abs(sum-5.700000001) > 1e-12 {
		t.Errorf("the sum is %v", sum)
	}
	if want["min"].Value != -1e6 || want["max"].Value != 1e6 {
		t.Errorf("%v", want)
	}
	var none tally
	for _, at := range []int{2, 0, 1} {
		none.add(at, 0, fmt.Errorf("endpoint %d", at))
	}
	if err := none.result(combinations["sum"]).Err; err == nil || err.Error() != "none of 3 endpoints answers with a number: endpoint 0" {
		t.Errorf("error = %v", err)
	}
}

// TestManyEndpointsTakeNoMemory: of what many sources do not find at many endpoints one
// error each is kept, however many endpoints there are, and a long URL is one text.
func TestManyEndpointsTakeNoMemory(t *testing.T) {
	const members, hosts = 200, 100
	port := listenEverywhere(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	ctx, release := scaler.Opening(t.Context())
	defer release()
	asking, err := client.HTTP(ctx, client.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse("http://api.shop/" + strings.Repeat("x", 4000))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{server: &server{client: asking, places: client.NewPlaces()}, url: u, format: "json"}
	p.addresses = func(context.Context) (all []string, err error) {
		for i := range hosts {
			all = append(all, fmt.Sprintf("127.0.2.%d:%d", i+1, port))
		}
		return all, nil
	}
	place, err := document.ParsePlace("json", strings.Repeat("y", 500))
	if err != nil {
		t.Fatal(err)
	}
	var sources []scaler.Source
	for range members {
		sources = append(sources, &apiSource{place: place, most: 100, combine: combinations["sum"]})
	}
	before := live()
	results := make([]scaler.Result, members)
	if err := p.ReadBatch(ctx, sources, func(i int, r scaler.Result) { results[i] = r }); err != nil {
		t.Fatal(err)
	}
	if grown := live() - before; grown > members*16<<10 {
		t.Errorf("%d KiB are kept for each of %d sources", grown/members>>10, members)
	}
	for _, r := range results {
		if status.Code(r.Err) != codes.NotFound {
			t.Fatalf("%+v", r)
		}
	}
}

// TestAServiceOfVeryManyEndpoints is refused by its name, before any is asked.
func TestAServiceOfVeryManyEndpoints(t *testing.T) {
	api := kubetest.Start(t)
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api-1", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}}}
	for i := range mostEndpoints + 1 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.%d.%d", i/250, i%250)}})
	}
	api.Put(slice)
	family := scalertest.Serve(t, triggers...)
	_, err := family.Observe(t.Context(), "metrics-api", trigger("http://api.shop/x", map[string]string{"aggregateFromKubeServiceEndpoints": "true"}))
	const want = "metrics-api: Service shop/api has 1001 endpoints, more than 1000 are not asked"
	if status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

// live is how much memory is in use.
func live() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
