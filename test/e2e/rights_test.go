package e2e

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// right is one verb on one resource, as a shipped role grants it.
type right struct {
	role, group, resource, verb string // resource with its subresource
}

func (r right) String() string {
	return fmt.Sprintf("%s: %s %s", r.role, r.verb, strings.Trim(r.resource+"."+r.group, "."))
}

// unusedHere are rights that no scenario of this suite makes use of, or not in
// every run, with who does.
var unusedHere = map[right]string{
	{"sluice-controller", "keda.sh", "scaledobjects/finalizers", "update"}:                "the API server looks at it when an owner reference is written",
	{"sluice-controller", "keda.sh", "scaledjobs/finalizers", "update"}:                   "the API server looks at it when an owner reference is written",
	{"sluice-controller", "keda.sh", "scaledobjects", "patch"}:                            "finalizers, of a KEDA before, too",
	{"sluice-controller", "keda.sh", "scaledjobs", "patch"}:                               "finalizers, of a KEDA before, too",
	{"sluice-controller", "keda.sh", "triggerauthentications", "patch"}:                   "the finalizer of a KEDA before",
	{"sluice-controller", "keda.sh", "clustertriggerauthentications", "patch"}:            "the finalizer of a KEDA before",
	{"sluice-controller", "eventing.keda.sh", "cloudeventsources", "patch"}:               "the finalizer of a KEDA before",
	{"sluice-controller", "eventing.keda.sh", "clustercloudeventsources", "patch"}:        "the finalizer of a KEDA before",
	{"sluice-controller", "eventing.keda.sh", "clustercloudeventsources/status", "patch"}: "test/attacks",
	{"sluice-controller", "keda.sh", "scaledobjects/status", "patch"}:                     "what hinders the leader",
	{"sluice-controller", "keda.sh", "scaledjobs/status", "patch"}:                        "what hinders the leader",
	{"sluice-controller", "events.k8s.io", "events", "patch"}:                             "an event that comes again within minutes",
	{"sluice-controller", "batch", "jobs", "get"}:                                         "a Job that may have been created by a request whose answer was lost",
	{"sluice-controller-targets-apps", "apps", "deployments", "get"}:                      "a target that the cache does not have yet",
	{"sluice-controller-targets-apps", "apps", "statefulsets", "get"}:                     "a target that the cache does not have yet",
	{"sluice-controller-targets-apps", "apps", "replicasets", "get"}:                      "a target that the cache does not have yet",
	{"sluice-metrics-adapter", "apps", "deployments", "get"}:                              "variables of a trigger that its family has forgotten",
	{"sluice-metrics-adapter", "apps", "statefulsets", "get"}:                             "variables of a trigger that its family has forgotten",
	{"sluice-metrics-adapter", "apps", "replicasets", "get"}:                              "variables of a trigger that its family has forgotten",
	{"sluice-controller-targets-apps", "apps", "deployments/scale", "get"}:                "after a conflict",
	{"sluice-controller-targets-apps", "apps", "statefulsets/scale", "get"}:               "after a conflict",
	{"sluice-controller-targets-apps", "apps", "replicasets/scale", "get"}:                "after a conflict",
	{"sluice-metrics-adapter-targets-apps", "apps", "statefulsets/scale", "get"}:          "its ready pods",
	{"sluice-metrics-adapter-targets-apps", "apps", "replicasets/scale", "get"}:           "its ready pods",
	{"sluice-scaler-credentials", "", "serviceaccounts", "get"}:                           "the role in the annotation of a workload's account",
	{"sluice-scaler-kubernetes", "", "pods", "get"}:                                       "kubernetes-resource",
}

// checkRights compares the shipped roles with the requests that were let in
// over the whole run: a role grants what is used, and nothing else is used.
// Roles of users and of the HPA controller are none of ours.
func checkRights() error {
	if only := flag.Lookup("test.run"); only != nil && only.Value.String() != "" {
		return nil // some scenarios do not use all
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	shipped, added, err := grantedRights(ctx)
	if err != nil {
		return err
	}
	requests, err := world.cluster.Audit(func(r *localcluster.Request) bool {
		return strings.HasPrefix(r.User.Username, "system:serviceaccount:sluice-system:") && r.Object.Resource != "" && r.Response.Code < 400
	})
	if err != nil {
		return err
	}
	used, foreign := map[right]bool{}, map[string]bool{}
	for r := range shipped { // a list is what a watch falls back to
		if r.verb == "list" && shipped[right{r.role, r.group, r.resource, "watch"}] != nil {
			used[r] = true
		}
	}
	for _, r := range requests {
		if !use(shipped, used, r) && !use(added, map[right]bool{}, r) && !strings.HasPrefix(r.Object.APIGroup, "authorization.k8s.io") && !strings.HasPrefix(r.Object.APIGroup, "authentication.k8s.io") {
			foreign[fmt.Sprintf("%s: %s %s/%s.%s in %q", r.User.Username, r.Verb, r.Object.Resource, r.Object.Subresource, r.Object.APIGroup, r.Object.Namespace)] = true
		}
	}
	var errs []error
	for _, r := range slices.SortedFunc(maps.Keys(shipped), func(a, b right) int { return cmp.Compare(a.String(), b.String()) }) {
		if _, elsewhere := unusedHere[r]; !used[r] && !elsewhere {
			errs = append(errs, fmt.Errorf("nobody needs what a role grants: %s", r))
		}
	}
	for _, text := range slices.Sorted(maps.Keys(foreign)) {
		errs = append(errs, fmt.Errorf("used, and granted by no shipped role: %s", text))
	}
	return errors.Join(errs...)
}

// grantedRights are those of the roles that the overlay holds, and those that
// scenarios add for kinds of their own, with the names that each is limited to.
func grantedRights(ctx context.Context) (shipped, added map[right][]string, err error) {
	shipped, added = map[right][]string{}, map[right][]string{}
	add := func(meta metav1.ObjectMeta, rules []rbacv1.PolicyRule) {
		rights := shipped
		switch {
		case strings.HasPrefix(meta.Name, "keda:"), meta.Name == "sluice-external-metrics-reader":
			return
		case meta.Labels["app.kubernetes.io/part-of"] == "sluice":
		case meta.Labels["sluice.dev/aggregate-to-controller"] != "", meta.Labels["sluice.dev/aggregate-to-metrics-adapter"] != "":
			rights = added
		default:
			return
		}
		for _, rule := range rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						r := right{meta.Name, group, resource, verb}
						rights[r] = append(append([]string{}, rights[r]...), rule.ResourceNames...)
					}
				}
			}
		}
	}
	var clusterRoles rbacv1.ClusterRoleList
	var roles rbacv1.RoleList
	if err := errors.Join(world.cluster.Client().List(ctx, &clusterRoles), world.cluster.Client().List(ctx, &roles)); err != nil {
		return nil, nil, err
	}
	for _, role := range clusterRoles.Items {
		if role.AggregationRule == nil { // has the rules of others
			add(role.ObjectMeta, role.Rules)
		}
	}
	for _, role := range roles.Items {
		add(role.ObjectMeta, role.Rules)
	}
	return shipped, added, nil
}

// use marks the rights that let a request in, and reports whether there is one.
func use(shipped map[right][]string, used map[right]bool, r localcluster.Request) (found bool) {
	resource := r.Object.Resource
	if r.Object.Subresource != "" {
		resource += "/" + r.Object.Subresource
	}
	for one, names := range shipped {
		if one.group == r.Object.APIGroup && one.resource == resource && one.verb == r.Verb &&
			(len(names) == 0 || r.Object.Name == "" || slices.Contains(names, r.Object.Name)) {
			used[one], found = true, true
		}
	}
	return found
}
