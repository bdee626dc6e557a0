package attacks

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestFormulas has tenants calculate what would take seconds to hours, while a
// lock is held that everybody needs.
func TestFormulas(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("map(1..1000, ", 6) + "#" + strings.Repeat(")", 6)
	formulas := map[string]string{
		"nested ranges": "len(" + deep + ")",
		"closures":      strings.Repeat("sum(1..2000, # + ", 5) + "#" + strings.Repeat(")", 5),
		"let":           "let x = 1..100000; sum(x, sum(x, # * # ))",
		"text":          `len(repeat("x", 1000000000)) + waiting`,
		"range":         "len(1..1000000000)",
		"deep":          strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000),
		"deep signs":    strings.Repeat("-", 8_000) + "1",
		"long":          "waiting" + strings.Repeat(" + waiting", 20_000),
		"chain":         "1" + strings.Repeat(" < waiting", 800),
		"pattern":       `waiting matches "(((((x*)*)*)*)*)*y" ? 1 : 2`,
	}
	others := standBy(t, "http", "redis")
	enemy, admitted := tenant(t), admittedTenant(t)
	trigger, _ := apiSource(enemy)
	trigger["name"] = "waiting"
	var all []scaled
	for name, formula := range formulas {
		modifiers := map[string]any{"advanced": map[string]any{"scalingModifiers": map[string]any{"target": "5", "formula": formula}}}
		name = "formula-" + strings.ReplaceAll(name, " ", "-")
		all = append(all, enemy.scale(name, modifiers, trigger))
		judged := scaled{admitted, name}
		judged.deployment()
		if err := judged.tryScale(modifiers, trigger); err == nil || !strings.Contains(err.Error(), "formula") {
			t.Errorf("%s: admitted: %v", name, err)
		}
	}
	others.goOn()
	for _, s := range all {
		s.waitReady("False", "formula")
	}
	others.goOn()
	unharmed(t)
}

// TestLeases has a tenant hold the lease that says that a KEDA leads, for ever:
// beside a KEDA nobody else writes.
func TestLeases(t *testing.T) {
	t.Parallel()
	others := standBy(t, "http")
	enemy := tenant(t)
	enemy.apply("Lease", "operator.keda.sh", map[string]any{"spec": map[string]any{
		"holderIdentity": "keda-operator-0_1", "leaseDurationSeconds": math.MaxInt32, "renewTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"),
	}})
	for range 2 {
		others.goOn()
	}
	unharmed(t)
}

// TestSinks has receivers of CloudEvents answer with far more than the
// controller may hold, without end, or by sending it to itself.
func TestSinks(t *testing.T) {
	t.Parallel()
	others := standBy(t, "http")
	enemy := tenant(t)
	sinks := map[string]*server{
		"body":   listenAnd(t, flood("HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\n\r\n", "x", gib)),
		"header": listenAnd(t, flood("HTTP/1.1 500 Oops\r\n", "X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", gib)),
		"line":   listenAnd(t, flood("HTTP/1.1 500 ", "x", gib)),
		"hints":  listenAnd(t, flood("", "HTTP/1.1 103 Early Hints\r\n\r\n", gib)),
		"drip":   listenAnd(t, flood("HTTP/1.1 500 Oops\r\nContent-Length: 1000000\r\n\r\n", "x", 1)),
		"redirect": web(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:8080/metrics", http.StatusFound)
		}),
		"redirect-with-body": web(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusTemporaryRedirect)
		}),
	}
	for name, sink := range sinks {
		enemy.sink(name, sink.url())
	}
	// What the controller reaches as itself and nobody else does.
	inside := map[string]string{
		"itself": "http://127.0.0.1:8080/metrics", "localhost": "http://localhost:8081/healthz", "any": "http://0.0.0.0:8080/metrics",
		"metadata": "http://169.254.169.254/latest/meta-data/", "mapped": "http://[::ffff:169.254.169.254]/", "nat64": "http://[64:ff9b::a9fe:a9fe]/",
		"google": "http://metadata.google.internal/computeMetadata/v1/",
	}
	elsewhere := tenant(t)
	for name, uri := range inside {
		elsewhere.sink(name, uri)
	}
	for _, h := range []house{enemy, elsewhere} {
		trigger, _ := apiSource(h)
		h.scale("event", nil, trigger).waitReady("True", "")
	}
	for _, sink := range sinks {
		sink.waitAsked(t)
	}
	others.goOn()
	for name := range sinks {
		enemy.waitSinkGivenUp(name)
	}
	for name := range inside {
		elsewhere.waitSinkGivenUp(name)
	}
	if world.metadata.wasAsked() {
		t.Error("the metadata service was asked")
	}
	others.goOn()
	unharmed(t)
}

func (h house) sink(name, uri string) {
	h.t.Helper()
	h.apply("CloudEventSource", name, map[string]any{"spec": map[string]any{"destination": map[string]any{"http": map[string]any{"uri": uri}}}})
}

// waitSinkGivenUp waits until a sink counts as failed, without a word of what
// it answered.
func (h house) waitSinkGivenUp(name string) {
	h.t.Helper()
	h.waitCondition("CloudEventSource", name, "Active", "False", "")
	for _, word := range []string{"xxx", "keda_", "go_goroutines", "Found", "Early"} {
		if text := h.status("CloudEventSource", name); strings.Contains(text, word) {
			h.t.Errorf("%s is told: %s", name, text)
		}
	}
}
