package uninstall

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

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
