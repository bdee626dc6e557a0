package uninstall

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// where finds the namespace that Sluice is in.
func (l *looking) where(ctx context.Context) error {
	err := l.list(ctx, deployments, "", metav1.ListOptions{LabelSelector: ours}, func(o *found) {
		if l.found[o.Namespace] == nil {
			l.found[o.Namespace] = map[string]*found{}
		}
		l.found[o.Namespace][o.Name] = o
	})
	if err != nil {
		return err
	}
	err = l.list(ctx, namespaces, "", metav1.ListOptions{LabelSelector: ours}, func(o *found) {
		if o.Name != keysNamespace {
			l.traces[o.Name] = true
		}
	})
	if err != nil {
		return err
	}
	service, err := l.read(ctx, apiServices, metricsAPI)
	if err != nil {
		return err
	}
	if service != nil && service.GetLabels()[partLabel] == part {
		l.trace(serviceOf(service.Object, "spec", "service"))
	}
	configurations, err := l.readAll(ctx, webhooks, metav1.ListOptions{LabelSelector: ours})
	if err != nil {
		return err
	}
	for i := range configurations {
		for _, s := range servicesOf(&configurations[i]) {
			l.trace(s)
		}
	}
	// A family may be alone, under somebody's KEDA.
	running := slices.DeleteFunc(slices.Sorted(maps.Keys(l.found)), func(at string) bool { return !l.controls(at) })
	if len(running) == 0 {
		running = slices.Sorted(maps.Keys(l.found))
	}
	at := l.Namespace
	switch {
	case at != "":
	case len(running) == 1:
		at = running[0]
	case len(running) > 1:
		l.plan.Refused = append(l.plan.Refused, fmt.Sprintf("Sluice is in the namespaces %s: --sluice-namespace says which one goes", strings.Join(running, ", ")))
		at = running[0]
	case len(l.traces) > 0:
		at = slices.Sorted(maps.Keys(l.traces))[0]
	}
	l.plan.Namespace = at
	for _, name := range running {
		if name != at {
			l.others = append(l.others, name)
		}
	}
	return nil
}

// controls is whether a namespace has a controller.
func (l *looking) controls(namespace string) bool {
	for _, o := range l.found[namespace] {
		if o.Labels[nameLabel] == "controller" {
			return true
		}
	}
	return false
}

// trace remembers where something leads.
func (l *looking) trace(s serviceRef) {
	if s.namespace != "" {
		l.traces[s.namespace] = true
	}
}

type serviceRef struct{ namespace, name string }

func (s serviceRef) String() string {
	if s.name == "" {
		return "no Service"
	}
	return "Service " + s.namespace + "/" + s.name
}

func serviceOf(o map[string]any, path ...string) serviceRef {
	fields, _, _ := unstructured.NestedMap(o, path...)
	namespace, _ := fields["namespace"].(string)
	name, _ := fields["name"].(string)
	return serviceRef{namespace, name}
}

func servicesOf(configuration *unstructured.Unstructured) []serviceRef {
	entries, _, _ := unstructured.NestedSlice(configuration.Object, "webhooks")
	var all []serviceRef
	for _, entry := range entries {
		fields, _ := entry.(map[string]any)
		all = append(all, serviceOf(fields, "clientConfig", "service"))
	}
	return all
}

// rivals looks for who else serves the same objects.
func (l *looking) rivals(ctx context.Context) error {
	kedas := map[string]bool{}
	for _, options := range []metav1.ListOptions{
		{FieldSelector: "metadata.name=" + kedaName},
		{LabelSelector: partLabel + "=" + kedaName}, {LabelSelector: nameLabel + "=" + kedaName}, {LabelSelector: "app=" + kedaName},
	} {
		err := l.list(ctx, deployments, "", options, func(o *found) {
			if !is(o) && (options.FieldSelector == "" || o.Name == kedaName) {
				kedas[o.Namespace] = true
			}
		})
		if err != nil {
			return err
		}
	}
	held, err := l.heldLeases(ctx)
	if err != nil {
		return err
	}
	for _, lease := range held {
		holder, renewed := "", time.Time{}
		if lease.Spec.HolderIdentity != nil {
			holder = *lease.Spec.HolderIdentity
		}
		if lease.Spec.RenewTime != nil {
			renewed = lease.Spec.RenewTime.Time
		}
		// Clocks differ; a KEDA that has ended gives its lease up within seconds.
		if holder == "" || l.now().Sub(renewed) > time.Minute {
			continue
		}
		if !strings.Contains(holder, holderMark) { // one of Sluice may be left by who has ended
			kedas[lease.Namespace] = true
		}
	}
	if len(kedas) > 0 {
		l.keda = slices.Sorted(maps.Keys(kedas))[0]
		l.refuse("KEDA is in namespace " + strings.Join(slices.Sorted(maps.Keys(kedas)), ", ") + ", and objects, finalizers and CRDs are its")
	}
	if len(l.others) > 0 {
		l.refuse("another Sluice is in namespace " + strings.Join(l.others, ", ") + ", with the same roles, CRDs and finalizers")
	}
	if l.CRDs && l.shared() {
		l.plan.Refused = append(l.plan.Refused, "--crds would delete the objects of who else is there: remove that first")
	}
	return nil
}

// shared is whether somebody else serves the objects of users.
func (l *looking) shared() bool { return l.keda != "" || len(l.others) > 0 }

// leads says whether a Service is of the Sluice that goes: in its namespace, or
// not there at all.
func (l *looking) leads(ctx context.Context, s serviceRef, labelled bool) (bool, error) {
	if s.name == "" {
		return false, nil
	}
	o, err := l.get(ctx, services, s.namespace, s.name)
	switch {
	case err != nil:
		return false, err
	case o == nil:
		return labelled, nil
	}
	return s.namespace == l.plan.Namespace && (labelled || is(o)), nil
}

// registration finds what leads the API server to Sluice.
func (l *looking) registration(ctx context.Context) error {
	service, err := l.read(ctx, apiServices, metricsAPI)
	if err != nil {
		return err
	}
	if service != nil {
		to := serviceOf(service.Object, "spec", "service")
		mine, err := l.leads(ctx, to, service.GetLabels()[partLabel] == part)
		if err != nil {
			return err
		}
		if mine {
			l.metrics = service
		} else {
			l.refuse(fmt.Sprintf("APIService %s leads to %s, which is not Sluice's", metricsAPI, to))
		}
	}
	all, err := l.readAll(ctx, webhooks, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range all {
		configuration := &all[i]
		labelled := configuration.GetLabels()[partLabel] == part
		if !labelled && configuration.GetName() != admissionName {
			continue
		}
		elsewhere, some := []string{}, false
		for _, s := range servicesOf(configuration) {
			// What leads nowhere serves nobody.
			mine, err := l.leads(ctx, s, labelled)
			if err != nil {
				return err
			}
			if !mine {
				there, err := l.get(ctx, services, s.namespace, s.name)
				if err != nil {
					return err
				}
				if there != nil || s.name == "" {
					elsewhere = append(elsewhere, s.String())
				}
			}
			some = some || mine
		}
		slices.Sort(elsewhere)
		switch elsewhere = slices.Compact(elsewhere); {
		case len(elsewhere) > 0:
			l.refuse(fmt.Sprintf("%s %s leads to %s, which is not Sluice's", webhooks.name, configuration.GetName(), first(elsewhere)))
		case some || labelled:
			l.admission = append(l.admission, *configuration)
		}
	}
	return nil
}

// first names the first of many.
func first(names []string) string {
	text := strings.Join(names[:min(len(names), mostNamed)], ", ")
	if more := len(names) - mostNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// release refuses to take a release of Helm's apart, while Helm knows of it.
func (l *looking) release(ctx context.Context) error {
	var marked []map[string]string
	for _, name := range slices.Sorted(maps.Keys(l.found[l.plan.Namespace])) {
		marked = append(marked, l.found[l.plan.Namespace][name].Annotations)
	}
	if l.metrics != nil {
		marked = append(marked, l.metrics.GetAnnotations())
	}
	for _, configuration := range l.admission {
		marked = append(marked, configuration.GetAnnotations())
	}
	err := l.list(ctx, clusterRoles, "", metav1.ListOptions{LabelSelector: ours}, func(o *found) { marked = append(marked, o.Annotations) })
	if err != nil {
		return err
	}
	at := slices.IndexFunc(marked, func(a map[string]string) bool { return a[releaseName] != "" })
	if at < 0 {
		return nil
	}
	name, namespace := marked[at][releaseName], marked[at][releaseNamespace]
	known := false
	for _, k := range []kind{secrets, configMaps} {
		err := l.list(ctx, k, namespace, metav1.ListOptions{LabelSelector: "owner=helm,name=" + name}, func(o *found) {
			known = known || o.DeletionTimestamp == nil
		})
		if err != nil && !apierrors.IsForbidden(err) {
			return err
		}
		known = known || err != nil
	}
	if known {
		l.plan.Refused = append(l.plan.Refused, fmt.Sprintf(
			"this is a release of Helm's: helm uninstall %s --namespace %s removes it and leaves CRDs and objects; this command, after it, removes what keeps namespaces from ending", name, namespace))
	}
	return nil
}
