// Package uninstall removes Sluice in the order in which nothing is stranded,
// whatever was removed before: who writes first, then what the API server asks,
// then finalizers that nobody is there for any more, then the rest. The objects of
// users, their HPAs and their replicas stay.
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
	"k8s.io/apimachinery/pkg/types"
)

// Names that Sluice and KEDA have.
const (
	metricsAPI    = "v1beta1.external.metrics.k8s.io"
	admissionName = "keda-admission"
	keysNamespace = "sluice-pki"
	leaseName     = "operator.keda.sh"
	finalizer     = "finalizer.keda.sh"
	kedaName      = "keda-operator"

	partLabel = "app.kubernetes.io/part-of"
	nameLabel = "app.kubernetes.io/name"
	part      = "sluice"
	ours      = partLabel + "=" + part

	accountName = "kubernetes.io/service-account.name" // of an account's own token

	releaseName      = "meta.helm.sh/release-name"
	releaseNamespace = "meta.helm.sh/release-namespace"

	// holderMark is in the name of each process of Sluice that holds a lease.
	holderMark = "_sluice-"
	// mostNamed is how many objects a sentence names.
	mostNamed = 5
)

// Options are what the user says.
type Options struct {
	// Namespace is where Sluice is, "" for where it is found.
	Namespace string
	// LeaveShared leaves what KEDA, another adapter or another Sluice holds, and
	// removes the rest.
	LeaveShared bool
	// CRDs deletes the kinds, and with them every object of theirs.
	CRDs bool
	// Grants deletes the roles that let families read in namespaces of users.
	Grants bool
}

// Actions.
const (
	// Delete deletes an object.
	Delete = "delete"
	// Release takes the finalizer off an object.
	Release = "release"
)

// What became of a step.
const (
	Planned = "planned"
	Done    = "done"
	Failed  = "failed"
)

// Step is one thing that is done.
type Step struct {
	Action    string `json:"action"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Why is told where it is not plain.
	Why   string `json:"why,omitempty"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`

	kind kind
	uid  types.UID
	// ended is done already, and waited for.
	ended bool
}

func (s *Step) object() string {
	if s.Namespace == "" {
		return s.Kind + " " + s.Name
	}
	return s.Kind + " " + s.Namespace + "/" + s.Name
}

// Plan is what is done, in its order, and what is not.
type Plan struct {
	Server    string `json:"server"`
	Namespace string `json:"namespace,omitempty"`
	// Refused is why nothing is done.
	Refused []string `json:"refused,omitempty"`
	Steps   []*Step  `json:"steps"`
	// Kept counts the objects of users that stay, and Deleted those that do not,
	// by kind.
	Kept    map[string]int `json:"kept,omitempty"`
	Deleted map[string]int `json:"deleted,omitempty"`
	// Notes are what the user has to know.
	Notes []string `json:"notes,omitempty"`

	// stop ends with the controllers' Pods gone, before anything else.
	stop  int
	crdAt int // where the steps of CRDs begin
	// alone is whether no controller but those that are stopped may run.
	alone bool
}

// Objects is how many objects of users are deleted.
func (p *Plan) Objects() int {
	sum := 0
	for _, n := range p.Deleted {
		sum += n
	}
	return sum
}

// looking finds out what is there.
type looking struct {
	*Cluster
	Options
	plan *Plan

	found map[string]map[string]*found // Deployments of Sluice, by namespace and name
	// traces are namespaces that something of Sluice is in or leads to.
	traces map[string]bool
	// others are namespaces of other installations, and keda where a KEDA is.
	others []string
	keda   string
	// metrics and admission are what leads to Sluice.
	metrics   *unstructured.Unstructured
	admission []unstructured.Unstructured
}

// Look returns what is to be done.
func Look(ctx context.Context, c *Cluster, o Options) (*Plan, error) {
	l := &looking{
		Cluster: c, Options: o, plan: &Plan{Server: c.server, Steps: []*Step{}, Kept: map[string]int{}, Deleted: map[string]int{}},
		found: map[string]map[string]*found{}, traces: map[string]bool{},
	}
	for _, part := range []func(context.Context) error{
		l.where, l.rivals, l.registration, l.release, l.stopping, l.unregistering, l.releasing, l.removing, l.kinds,
	} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	if len(l.plan.Refused) > 0 {
		l.plan.Steps = []*Step{}
		l.plan.stop, l.plan.crdAt = 0, 0
	}
	return l.plan, nil
}

// refuse says why nothing is done, or with --leave-shared what is left.
func (l *looking) refuse(text string) {
	if l.LeaveShared {
		l.note("left: " + text)
		return
	}
	l.plan.Refused = append(l.plan.Refused, text+"; --leave-shared leaves that, and the finalizers and CRDs that are its too, and removes the rest")
}

func (l *looking) note(text string) { l.plan.Notes = append(l.plan.Notes, text) }

func (l *looking) step(action string, o *found, why string) {
	l.plan.Steps = append(l.plan.Steps, &Step{
		Action: action, Kind: o.kind.name, Namespace: o.Namespace, Name: o.Name, Why: why, State: Planned, kind: o.kind, uid: o.UID,
	})
}

func is(o *found) bool { return o.Labels[partLabel] == part }

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

// stopping has who writes end first: a controller may put back what is removed,
// and would act on objects whose HPAs nobody answers.
func (l *looking) stopping(context.Context) error {
	l.plan.alone = len(l.others) == 0
	all := l.found[l.plan.Namespace]
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if o := all[name]; o.Labels[nameLabel] == "controller" {
			l.step(Delete, o, "first of all, since it writes")
		}
	}
	l.plan.stop = len(l.plan.Steps)
	return nil
}

func (l *looking) unregistering(context.Context) error {
	whole := func(k kind, o *unstructured.Unstructured) *found {
		f := &found{kind: k}
		f.Name, f.UID = o.GetName(), o.GetUID()
		return f
	}
	if l.metrics != nil {
		l.step(Delete, whole(apiServices, l.metrics), "no namespace ends while it leads nowhere")
	}
	for i := range l.admission {
		l.step(Delete, whole(webhooks, &l.admission[i]), "")
	}
	return nil
}

// releasing takes the finalizers off whatever has them: nobody else would.
func (l *looking) releasing(ctx context.Context) error {
	restored, ending := []string{}, []string{}
	for _, k := range ofUsers {
		count := 0
		err := l.list(ctx, k, "", metav1.ListOptions{}, func(o *found) {
			count++
			if !slices.Contains(o.Finalizers, finalizer) || l.shared() {
				return
			}
			l.step(Release, o, "")
			switch name := l.plan.Steps[len(l.plan.Steps)-1].object(); {
			case o.DeletionTimestamp != nil:
				ending = append(ending, name)
			case k.resource == "scaledobjects":
				restored = append(restored, name)
			}
		})
		if err != nil {
			return err
		}
		if count > 0 {
			l.plan.Kept[k.name] = count
		}
	}
	if len(ending) > 0 {
		l.note(fmt.Sprintf("being deleted already, and then gone: %s; HPAs of theirs go too, replicas stay", first(ending)))
	}
	if len(restored) > 0 {
		l.note(fmt.Sprintf("deleted before a Sluice or KEDA is back, %s will leave the replicas as they are, restoreToOriginalReplicaCount or not", first(restored)))
	}
	scaled := 0
	err := l.list(ctx, autoscalers, "", metav1.ListOptions{}, func(o *found) {
		if slices.ContainsFunc(o.OwnerReferences, func(r metav1.OwnerReference) bool { return r.Kind == "ScaledObject" }) {
			scaled++
		}
	})
	if err != nil {
		return err
	}
	if scaled > 0 {
		l.plan.Kept[autoscalers.name] = scaled
		if !l.CRDs {
			l.note("HPAs stay, without external metrics: they leave replicas as they are, and go on with cpu and memory where they have those")
		}
	}
	return nil
}

// removing deletes the namespaces of Sluice where they are its alone, else its
// objects in them, and what it has elsewhere.
func (l *looking) removing(ctx context.Context) error {
	if l.plan.Namespace != "" {
		if err := l.namespace(ctx, l.plan.Namespace); err != nil {
			return err
		}
	}
	if len(l.others) > 0 {
		return nil // roles and keys are the other one's, too
	}
	if l.plan.Namespace != keysNamespace {
		if err := l.namespace(ctx, keysNamespace); err != nil {
			return err
		}
	}
	grants := 0
	for _, k := range []kind{bindings, roles} {
		err := l.list(ctx, k, "", metav1.ListOptions{LabelSelector: ours}, func(o *found) {
			core := o.Labels[nameLabel] == "controller" || o.Labels[nameLabel] == "metrics-adapter"
			switch {
			case o.Namespace == l.plan.Namespace, o.Namespace == keysNamespace: // as above
			case core:
				l.step(Delete, o, "")
			case l.Grants:
				l.step(Delete, o, "a grant")
			default:
				grants++
			}
		})
		if err != nil {
			return err
		}
	}
	for _, k := range ofCluster {
		err := l.list(ctx, k, "", metav1.ListOptions{LabelSelector: ours}, func(o *found) { l.step(Delete, o, "") })
		if err != nil {
			return err
		}
	}
	if grants > 0 {
		l.note(fmt.Sprintf("%d Roles and RoleBindings that let families read in namespaces of users stay, for the next installation; --grants deletes them, too", grants))
	}
	return nil
}

// namespace deletes one, or what Sluice has in it.
func (l *looking) namespace(ctx context.Context, name string) error {
	o, err := l.get(ctx, namespaces, "", name)
	if err != nil || o == nil {
		return err
	}
	if o.DeletionTimestamp != nil {
		l.step(Delete, o, "it is ending already")
		l.plan.Steps[len(l.plan.Steps)-1].ended = true
		return nil
	}
	if is(o) {
		var strangers []string
		for _, k := range slices.Concat(ofOthers, ofUsers) {
			if strings.HasPrefix(k.resource, "cluster") {
				continue
			}
			users := slices.Contains(ofUsers, k)
			err := l.list(ctx, k, name, metav1.ListOptions{}, func(o *found) {
				if users || !is(o) && len(o.OwnerReferences) == 0 && o.Annotations[accountName] == "" {
					strangers = append(strangers, o.kind.name+" "+o.Name)
				}
			})
			if err != nil {
				return err
			}
		}
		if len(strangers) == 0 {
			l.step(Delete, o, "")
			return nil
		}
		l.note(fmt.Sprintf("namespace %s stays, since it has %s", name, first(strangers)))
	}
	for _, k := range inNamespace {
		err := l.list(ctx, k, name, metav1.ListOptions{LabelSelector: ours}, func(o *found) {
			if k != deployments || o.Labels[nameLabel] != "controller" {
				l.step(Delete, o, "")
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// kinds deletes the CRDs, when it is asked to.
func (l *looking) kinds(ctx context.Context) error {
	l.plan.crdAt = len(l.plan.Steps)
	if !l.CRDs {
		return nil
	}
	for _, k := range ofUsers {
		o, err := l.get(ctx, definitions, "", k.resource+"."+k.group)
		if err != nil {
			return err
		}
		if o != nil {
			l.step(Delete, o, "and every object of it")
		}
	}
	for _, k := range ofUsers {
		if n := l.plan.Kept[k.name]; n > 0 {
			l.plan.Deleted[k.name] = n
			delete(l.plan.Kept, k.name)
		}
	}
	delete(l.plan.Kept, autoscalers.name)
	if l.plan.Objects() > 0 {
		l.note("with ScaledObjects go their HPAs, with ScaledJobs the Jobs that run; replicas stay as they are")
	}
	return nil
}
