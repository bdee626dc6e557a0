package provider

import (
	"math"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

// FuzzRequests proves that no request does harm: it is answered with one finite
// value, or refused as a bad one, as not found, or in one line.
func FuzzRequests(f *testing.F) {
	for _, selector := range []string{
		"scaledobject.keda.sh/name=worker", "scaledobject.keda.sh/name in (worker)", "scaledobject.keda.sh/name==worker,a=b", "",
		"!a", "a notin (b)", "scaledobject.keda.sh/name", "scaledobject.keda.sh/name=", "scaledobject.keda.sh/name=worker,scaledobject.keda.sh/name=other",
	} {
		for _, metric := range []string{"s0-a", "S1-b", "s9-a", "a", "", "s-1-a", "s99999999999-a", "composite-metric", "s0-\xff/%"} {
			f.Add("shop", selector, metric)
		}
	}
	p := newFixture(f, map[string]float64{"0 a": 3, "1 b": 4}).Provider
	f.Fuzz(func(t *testing.T, namespace, selector, metric string) {
		parsed, err := labels.Parse(selector)
		if err != nil {
			return // the API server refuses it before
		}
		list, err := p.GetExternalMetric(t.Context(), namespace, parsed, provider.ExternalMetricInfo{Metric: metric})
		if err != nil {
			if list != nil || !apierrors.IsBadRequest(err) && !apierrors.IsNotFound(err) && !apierrors.IsInternalError(err) || strings.Contains(err.Error(), "goroutine ") {
				t.Errorf("list %v, error %v", list, err)
			}
			return
		}
		if v := list.Items[0].Value.AsApproximateFloat64(); len(list.Items) != 1 || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			t.Errorf("answered %+v", list.Items)
		}
	})
}
