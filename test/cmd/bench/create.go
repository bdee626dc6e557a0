package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// create makes all objects and measures until each is Ready.
func (b *bench) create(ctx context.Context) error {
	b.say("creating %d Deployments", b.Objects)
	if err := b.fleet.createDeployments(ctx, 0); err != nil {
		return err
	}
	before, err := b.writes(ctx)
	if err != nil {
		return err
	}
	b.baseline = before
	b.say("creating %d ScaledObjects", b.Objects)
	idle, err := lookAtMachine()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := b.fleet.createScaledObjects(ctx); err != nil {
		return err
	}
	b.figures.CreatedSeconds = time.Since(begin).Seconds()
	if err := b.fleet.wait(ctx, "Ready", b.fleet.all(), isReady); err != nil {
		return err
	}
	b.figures.ReadySeconds = time.Since(begin).Seconds()
	if b.figures.Webhook, err = b.webhook(ctx); err != nil {
		return err
	}
	busy, err := lookAtMachine()
	if err != nil {
		return err
	}
	b.figures.Creating = busy.since(idle, b.figures.ReadySeconds)
	b.figures.Writes.UntilReady = b.perObject(b.writesAfter(ctx, before))
	b.say("all Ready after %.1f s", b.figures.ReadySeconds)
	return nil
}

// ours are the writes that only our processes make while objects are at
// zero: verb, resource and subresource as the API server counts them.
var ours = []struct{ name, verbs, group, resource, subresource string }{
	{"ScaledObject: label", "PUT PATCH", "keda.sh", "scaledobjects", ""},
	{"ScaledObject: status", "PUT PATCH", "keda.sh", "scaledobjects", "status"},
	{"HPA", "POST PUT PATCH", "autoscaling", "horizontalpodautoscalers", ""},
	{"event", "POST PUT PATCH", "events.k8s.io", "events", ""},
	{"scale", "PUT PATCH", "apps", "deployments", "scale"},
}

// refusals is the name of writes of ours that the API server refused.
const refusals = "refused, all kinds"

// everything is what the leader counted itself: all of the above and its
// lease.
const everything = "all by the leading controller, its lease included"

// writes counts API writes until now.
func (b *bench) writes(ctx context.Context) (map[string]float64, error) {
	metrics, err := b.apiServerMetrics(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]float64{}
	for _, o := range ours {
		of := func(l map[string]string) bool {
			return strings.Contains(o.verbs, l["verb"]) && l["group"] == o.group && l["resource"] == o.resource && l["subresource"] == o.subresource
		}
		accepted := func(l map[string]string) bool { return strings.HasPrefix(l["code"], "2") }
		counts[o.name] = sum(metrics, "apiserver_request_total", of, accepted)
		counts[refusals] += sum(metrics, "apiserver_request_total", of) - counts[o.name]
	}
	counts[everything], err = b.leaderWrites(ctx)
	return counts, err
}

func (b *bench) apiServerMetrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	text, err := b.fleet.clientset.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	metrics, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("metrics of kube-apiserver: %w", err)
	}
	return metrics, nil
}

func (b *bench) leaderWrites(ctx context.Context) (float64, error) {
	for _, i := range b.cluster.Instances("controller") {
		metrics, err := b.cluster.InstanceMetrics(ctx, i, "metrics")
		if err != nil {
			return 0, err
		}
		if sum(metrics, "leader_election_master_status") > 0 {
			return sum(metrics, "rest_client_requests_total", isWrite), nil
		}
	}
	return 0, nil
}

func isWrite(l map[string]string) bool { return l["method"] != "GET" }

// writesAfter counts the writes since before. It is part of a figure that
// stands beside others, so what it cannot count is left out.
func (b *bench) writesAfter(ctx context.Context, before map[string]float64) map[string]float64 {
	now, err := b.writes(ctx)
	if err != nil {
		b.say("API writes: %v", err)
		return nil
	}
	for name := range now {
		now[name] -= before[name]
	}
	return now
}

// writesSince counts the writes of each object since its creation.
func (b *bench) writesSince(ctx context.Context) map[string]float64 {
	return b.perObject(b.writesAfter(ctx, b.baseline))
}

func (b *bench) perObject(writes map[string]float64) map[string]float64 {
	for name := range writes {
		writes[name] /= float64(b.Objects)
	}
	return writes
}
