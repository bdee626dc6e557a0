package attacks

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// forged is part of all that nobody but forgers says.
const forged = "forged-by-nobody"

// TestForgedReviews has somebody without any identity send the webhook what
// looks like reviews, in numbers, sizes and depths as they like.
func TestForgedReviews(t *testing.T) {
	t.Parallel()
	others := standBy(t, "http", "redis")
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // whoever attacks does not care who answers
		MaxConnsPerHost: 16,
	}}
	defer client.CloseIdleConnections()
	formula := strings.Repeat("sum([a,b,c,d,e,f,g,h],#*#)+", 300) + "1"
	bodies := map[string]func(n int) io.Reader{
		"namespaces": func(n int) io.Reader { return review(fmt.Sprintf("%s-%d", forged, n), "1") },
		"formulas":   func(int) io.Reader { return review(forged, formula) },
		"depth":      func(int) io.Reader { return strings.NewReader(strings.Repeat(`{"request":`, 1<<20)) },
		"brackets":   func(int) io.Reader { return strings.NewReader(strings.Repeat("[", 8<<20)) },
		"size":       func(int) io.Reader { return io.LimitReader(endless{}, gib) },
		"many empty": func(int) io.Reader {
			return strings.NewReader(`{"request":{"object":{"spec":{"triggers":[` + strings.Repeat("{},", 300_000) + `{}]}}}}`)
		},
	}
	controllers := world.cluster.Instances("controller")
	var wg sync.WaitGroup
	for _, c := range controllers {
		for name, body := range bodies {
			for _, kind := range []string{"scaledobject", "scaledjob", "triggerauthentication", "clustertriggerauthentication"} {
				wg.Go(func() {
					for n := range map[bool]int{true: 200, false: 5}[name == "namespaces"] {
						url := "https://" + net.JoinHostPort(c.Address(), "9443") + "/validate-keda-sh-v1alpha1-" + kind
						post(t.Context(), client, url, body(n))
					}
				})
			}
		}
	}
	others.goOn()
	wg.Wait()
	others.goOn()
	// Neither a series nor an event is left of what nobody vouches for.
	for _, c := range controllers {
		families, err := world.cluster.InstanceMetrics(t.Context(), c, "metrics")
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprint(families); strings.Contains(text, forged) {
			t.Errorf("%s counts what forgers say", c.Name())
		}
	}
	events := &corev1.EventList{}
	if err := world.cluster.Client().List(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if strings.Contains(e.InvolvedObject.Namespace+e.Message, forged) {
			t.Errorf("event in %s: %s", e.InvolvedObject.Namespace, e.Message)
		}
	}
	// And the webhook still judges.
	judged := scaled{admittedTenant(t), "judged"}
	judged.deployment()
	trigger, _ := apiSource(judged.house)
	trigger["name"] = "waiting"
	modifiers := map[string]any{"advanced": map[string]any{"scalingModifiers": map[string]any{"target": "5", "formula": "let x = 1; x"}}}
	if err := judged.tryScale(modifiers, trigger); err == nil {
		t.Error("what the webhook should refuse was admitted")
	}
	unharmed(t)
}

// review is one of a ScaledObject with a formula.
func review(namespace, formula string) io.Reader {
	return strings.NewReader(fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"x","operation":"CREATE",
		"kind":{"group":"keda.sh","version":"v1alpha1","kind":"ScaledObject"},"resource":{"group":"keda.sh","version":"v1alpha1","resource":"scaledobjects"},
		"namespace":%[1]q,"name":"x","object":{"apiVersion":"keda.sh/v1alpha1","kind":"ScaledObject","metadata":{"name":"x","namespace":%[1]q},
		"spec":{"scaleTargetRef":{"name":"x"},"triggers":[{"type":"cron","name":"a","metadata":{"x":%[1]q}}],
		"advanced":{"scalingModifiers":{"target":"1","formula":%[2]q}}}}}}`, namespace, formula))
}

// post sends a body; that it is refused, or that nobody reads it, is as good as
// any answer.
func post(ctx context.Context, client *http.Client, url string, body io.Reader) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
}

// endless is spaces without an end.
type endless struct{}

// Read implements io.Reader.
func (endless) Read(b []byte) (int, error) {
	return copy(b, bytes.Repeat([]byte(" "), len(b))), nil
}
