// Package kinds finds out which resource a reference to a target means.
package kinds

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

const (
	// discoveredFor is how long what the API server said of a group is good.
	discoveredFor = 10 * time.Minute
	// missedFor is how long it is when something was looked for in vain, such as
	// a kind whose CustomResourceDefinition is only being applied.
	missedFor = 5 * time.Second
	// looksWithin is the time of Discovery.Looks.
	looksWithin = 10 * time.Second
)

// Resources says which resources a group and version has, as client-go's
// discovery clients do.
type Resources interface {
	ServerResourcesForGroupVersion(groupVersion string) (*metav1.APIResourceList, error)
}

// Discovery finds out which resource a reference means. What it answers has the
// kind's real name, however the user spelt it: nobody else may ask what a kind
// is called.
type Discovery struct {
	API Resources
	Now func() time.Time
	// Looks are how often the API server is asked within ten seconds, whoever names
	// groups: users make up as many as they like, in as many namespaces as they have.
	// 0 is any number.
	Looks int

	mu sync.Mutex
	// known and missing are the groups that there are, and that there are not:
	// anybody may name of those as many as they like.
	known, missing memory
	looks          int       // that were made
	since          time.Time // then
}

// discovered is what the API server said, and when.
type discovered struct {
	resources []metav1.APIResource
	at        time.Time
}

// memory is what was found out last of so many groups. The oldest makes way.
type memory struct {
	of     map[schema.GroupVersion]discovered
	oldest []schema.GroupVersion // by at
}

func (m *memory) keep(gv schema.GroupVersion, d discovered) {
	if m.of == nil {
		m.of = map[schema.GroupVersion]discovered{}
	}
	m.forget(gv)
	if len(m.oldest) >= mostGroups {
		m.forget(m.oldest[0])
	}
	m.of[gv] = d
	m.oldest = append(m.oldest, gv)
}

func (m *memory) forget(gv schema.GroupVersion) {
	if _, ok := m.of[gv]; ok {
		delete(m.of, gv)
		at := slices.Index(m.oldest, gv)
		m.oldest = slices.Delete(m.oldest, at, at+1)
	}
}

// Resolve finds out which resource a reference means. It asks the API server
// only for what it has not seen. A kind that cannot be scaled is an error.
func (d *Discovery) Resolve(ref v1alpha1.ScaleTarget) (v1alpha1.GroupVersionKindResource, error) {
	var none v1alpha1.GroupVersionKindResource
	gv, err := schema.ParseGroupVersion(ref.TargetAPIVersion())
	if err != nil || len(ref.TargetAPIVersion()) > longestAPIVersion {
		return none, &UnparsableError{APIVersion: ref.TargetAPIVersion()}
	}
	for _, usual := range usualKinds {
		if gv == appsv1.SchemeGroupVersion && usual.Means(ref) {
			return usual, nil
		}
	}
	known, err := d.resources(gv, discoveredFor)
	if err != nil {
		return none, fmt.Errorf("kind: %s %s: %w", gv, ref.TargetKind(), err)
	}
	resolved, err := resolve(gv, ref, known)
	if err == nil {
		return resolved, nil
	}
	if known, again := d.resources(gv, missedFor); again == nil {
		return resolve(gv, ref, known)
	}
	return none, err
}

// Usual reports whether most targets are of a kind. The API server need not be
// asked about it, and the controller is installed with the permissions for it.
func Usual(kind v1alpha1.GroupVersionKindResource) bool { return slices.Contains(usualKinds, kind) }

var usualKinds = []v1alpha1.GroupVersionKindResource{
	{Group: appsv1.GroupName, Version: "v1", Kind: "Deployment", Resource: "deployments"},
	{Group: appsv1.GroupName, Version: "v1", Kind: "StatefulSet", Resource: "statefulsets"},
}

// resolve finds a reference among the resources of its group.
func resolve(gv schema.GroupVersion, ref v1alpha1.ScaleTarget, known []metav1.APIResource) (v1alpha1.GroupVersionKindResource, error) {
	var none, found v1alpha1.GroupVersionKindResource
	scale, ofCluster := map[string]bool{}, false
	for _, r := range known {
		of, isScale := strings.CutSuffix(r.Name, "/scale")
		candidate := v1alpha1.GroupVersionKindResource{Group: gv.Group, Version: gv.Version, Kind: r.Kind, Resource: r.Name}
		switch {
		case isScale:
			scale[of] = true
		case !strings.Contains(r.Name, "/") && candidate.Means(ref):
			found, ofCluster = candidate, !r.Namespaced
		}
	}
	switch {
	case found == none:
		return none, &UnknownKindError{APIVersion: gv.String(), Kind: ref.TargetKind()}
	case ofCluster:
		// It would be everybody's, and whoever may write objects in one namespace's.
		return none, &UnscalableError{Kind: found, OfCluster: true}
	case !scale[found.Resource]:
		return none, &UnscalableError{Kind: found}
	}
	return found, nil
}

// resources are those of a group and version, as they were at most so long ago.
func (d *Discovery) resources(gv schema.GroupVersion, within time.Duration) ([]metav1.APIResource, error) {
	if known, ok := d.remembered(gv, within); ok {
		return known.resources, nil
	}
	if known, may := d.look(gv); !may {
		if known == nil {
			return nil, fmt.Errorf("is not looked for yet: within %v %d groups were, and those that this cluster does not know are looked for again and again", looksWithin, d.Looks)
		}
		return known, nil
	}
	list, err := d.API.ServerResourcesForGroupVersion(gv.String())
	switch {
	case apierrors.IsNotFound(err):
		list = &metav1.APIResourceList{}
	case err != nil:
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	into, other := &d.known, &d.missing
	if len(list.APIResources) == 0 {
		into, other = other, into
	}
	other.forget(gv)
	into.keep(gv, discovered{list.APIResources, d.Now()})
	return list.APIResources, nil
}

// look reports whether the API server may be asked about a group. Else it is as it
// was when it was seen last, if it was.
func (d *Discovery) look(gv schema.GroupVersion) (known []metav1.APIResource, may bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.Now(); now.Sub(d.since) >= looksWithin {
		d.looks, d.since = 0, now
	}
	if d.Looks == 0 || d.looks < d.Looks {
		d.looks++
		return nil, true
	}
	return d.known.of[gv].resources, false
}

// remembered is what was said of a group at most so long ago.
func (d *Discovery) remembered(gv schema.GroupVersion, within time.Duration) (discovered, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, ok := d.known.of[gv]
	if !ok {
		known, ok = d.missing.of[gv]
	}
	return known, ok && d.Now().Sub(known.at) < within
}

// Remembers reports whether Resolve asks nobody about a reference.
func (d *Discovery) Remembers(ref v1alpha1.ScaleTarget) bool {
	gv, err := schema.ParseGroupVersion(ref.TargetAPIVersion())
	if err != nil || gv == appsv1.SchemeGroupVersion {
		return true
	}
	known, ok := d.remembered(gv, discoveredFor)
	if !ok {
		return false
	}
	if _, err := resolve(gv, ref, known.resources); err != nil {
		_, ok = d.remembered(gv, missedFor)
	}
	return ok
}

// mostGroups is how many groups are remembered, and as many that there are not, and longestAPIVersion how long
// the name of one may be: a DNS name, a slash and a label.
const mostGroups, longestAPIVersion = 500, 253 + 1 + 63

// UnparsableError says that a reference names no kind at all.
type UnparsableError struct{ APIVersion string }

func (e *UnparsableError) Error() string {
	return fmt.Sprintf("apiVersion: %.320q is not a group and version", e.APIVersion)
}

// UnknownKindError says that the cluster has no such kind.
type UnknownKindError struct{ APIVersion, Kind string }

func (e *UnknownKindError) Error() string {
	return fmt.Sprintf("kind: %s %s is not known to this cluster", e.APIVersion, e.Kind)
}

// UnscalableError says that objects of a kind have no replicas to be set.
type UnscalableError struct {
	Kind v1alpha1.GroupVersionKindResource
	// Key is the object that was asked for, if it was one.
	Key types.NamespacedName
	// OfCluster is true of a kind whose objects are in no namespace.
	OfCluster bool
}

func (e *UnscalableError) Error() string {
	what := e.Kind.String()
	if e.OfCluster {
		return what + " is of no namespace, and cannot be a target"
	}
	if e.Key.Name != "" {
		what += " " + e.Key.String()
	}
	if e.Kind.Group == batchv1.GroupName && e.Kind.Kind == "Job" {
		return what + " cannot be scaled: use a ScaledJob"
	}
	return what + " has no scale subresource"
}
