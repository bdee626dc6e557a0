package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

const namespace = "first"

// way is how work is noticed.
type way struct {
	name        string
	annotations map[string]string
}

func (o options) ways(s source) []way {
	if s.rings {
		return []way{{"rings", nil}}
	}
	return []way{
		{"polled every " + o.interval.String(), nil},
		{"polled every " + o.idle.String() + " at zero", map[string]string{"sluice.dev/idle-polling-interval": o.idle.String()}},
	}
}

// sample is one object, and the work that it gets.
type sample struct {
	source source
	way    way
	object string
	index  int
	took   time.Duration
}

// latencies has one event for each object, at a moment of chance within the
// polling interval.
func latencies(ctx context.Context, o options) (err error) {
	var ends closing
	defer func() { err = errors.Join(err, ends.close()) }()
	cluster, err := localcluster.Start(ctx, localcluster.Options{NoAudit: true})
	if err != nil {
		return err
	}
	ends.add(cluster.Stop)
	if err := cluster.Install(ctx, localcluster.Installation{Overlay: "deploy/overlays/all"}); err != nil {
		return err
	}
	all, err := allSources(ctx, cluster.Address(), &ends)
	if err != nil {
		return err
	}
	samples, err := create(ctx, cluster, all, o)
	if err != nil {
		return err
	}
	if err := settled(ctx, cluster, len(samples)); err != nil {
		return err
	}
	recorder, err := cluster.RecordReplicas(ctx)
	if err != nil {
		return err
	}
	defer recorder.Stop()
	if err := events(ctx, recorder, samples, o); err != nil {
		return err
	}
	rows := [][]string{{"trigger type", "noticed", "events", "median", "longest"}}
	for _, s := range all {
		for _, w := range o.ways(s) {
			var took []time.Duration
			for _, one := range samples {
				if one.source.name == s.name && one.way.name == w.name {
					took = append(took, one.took)
				}
			}
			middle, longest := median(took)
			rows = append(rows, []string{s.name, w.name, fmt.Sprint(len(took)), middle.Round(time.Millisecond).String(), longest.Round(time.Millisecond).String()})
		}
	}
	table(rows)
	return nil
}

// create makes all objects at zero, with what they read.
func create(ctx context.Context, cluster *localcluster.Cluster, all []source, o options) ([]*sample, error) {
	manifests := []any{object("v1", "Namespace", namespace, nil)}
	for _, family := range []string{"aws", "sql"} {
		manifests = append(manifests, object("rbac.authorization.k8s.io/v1", "RoleBinding", family, map[string]any{
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sluice-scaler-credentials"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "scaler-" + family, "namespace": "sluice-system"}},
		}))
	}
	var samples []*sample
	for _, s := range all {
		ways := o.ways(s)
		if s.prepare != nil {
			if err := s.prepare(ctx, o.events*len(ways)); err != nil {
				return nil, err
			}
		}
		id := strings.ReplaceAll(s.name, " ", "-")
		id = strings.ToLower(id)
		if s.secret != nil {
			var refs []any
			for key := range s.secret {
				refs = append(refs, map[string]any{"parameter": key, "name": id, "key": key})
			}
			manifests = append(manifests, object("v1", "Secret", id, map[string]any{"stringData": s.secret}),
				object("keda.sh/v1alpha1", "TriggerAuthentication", id, map[string]any{"spec": map[string]any{"secretTargetRef": refs}}))
		}
		for i := range o.events * len(ways) {
			one := &sample{source: s, way: ways[i/o.events], object: fmt.Sprintf("%s-%d", id, i), index: i}
			samples = append(samples, one)
			trigger := map[string]any{"type": s.triggerType, "metadata": s.trigger(i)}
			if s.secret != nil {
				trigger["authenticationRef"] = map[string]any{"name": id}
			}
			labels := map[string]any{"app": one.object}
			so := object("keda.sh/v1alpha1", "ScaledObject", one.object, map[string]any{"spec": map[string]any{
				"scaleTargetRef": map[string]any{"name": one.object}, "pollingInterval": int(o.interval.Seconds()), "triggers": []any{trigger},
			}})
			so["metadata"].(map[string]any)["annotations"] = one.way.annotations
			manifests = append(manifests, object("apps/v1", "Deployment", one.object, map[string]any{"spec": map[string]any{
				"replicas": 0, "selector": map[string]any{"matchLabels": labels},
				"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{
					"containers": []any{map[string]any{"name": "app", "image": "app.invalid/app"}},
				}},
			}}), so)
		}
	}
	for _, m := range manifests {
		text, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		if err := cluster.ApplyYAML(ctx, string(text)); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// object is one of the namespace.
func object(apiVersion, kind, name string, rest map[string]any) map[string]any {
	all := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"namespace": namespace, "name": name}}
	for key, value := range rest {
		all[key] = value
	}
	if kind == "Namespace" {
		all["metadata"] = map[string]any{"name": name}
	}
	return all
}

// settled waits until all objects were read and have nothing to do.
func settled(ctx context.Context, cluster *localcluster.Cluster, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion("keda.sh/v1alpha1")
		list.SetKind("ScaledObjectList")
		if err := cluster.Client().List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err
		}
		quiet, other := 0, ""
		for _, so := range list.Items {
			conditions, _, _ := unstructured.NestedSlice(so.Object, "status", "conditions")
			met := 0
			for _, c := range conditions {
				fields, _ := c.(map[string]any)
				if fields["type"] == "Ready" && fields["status"] == "True" || fields["type"] == "Active" && fields["status"] == "False" {
					met++
				}
			}
			if met == 2 {
				quiet++
			} else {
				other = fmt.Sprint(so.GetName(), conditions)
			}
		}
		if quiet == n {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d objects are ready and at rest; not %s", quiet, n, other)
		}
	}
}

// events brings work to each object and waits for its first replica.
func events(ctx context.Context, recorder *localcluster.ReplicaRecorder, samples []*sample, o options) error {
	happened := make([]time.Time, len(samples))
	errs := make([]error, len(samples))
	var all sync.WaitGroup
	for i, s := range samples {
		all.Go(func() {
			select {
			case <-time.After(rand.N(o.interval)):
			case <-ctx.Done():
				errs[i] = ctx.Err()
				return
			}
			errs[i] = s.source.happen(ctx, s.index)
			happened[i] = time.Now()
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*o.interval+time.Minute)
	defer cancel()
	for {
		woken := map[string]time.Time{}
		for _, change := range recorder.Changes() {
			if change.From == 0 && change.Namespace == namespace && woken[change.Name].IsZero() {
				woken[change.Name] = change.At
			}
		}
		missing := ""
		for i, s := range samples {
			at := woken[s.object]
			if at.IsZero() {
				missing = s.object
				continue
			}
			s.took = at.Sub(happened[i])
		}
		if missing == "" {
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d objects have a replica; not %s", len(woken), len(samples), missing)
		}
	}
}
