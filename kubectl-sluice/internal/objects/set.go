// Package objects reads what is going to be judged: from manifests, or from a
// cluster with the rights of whoever asks. What is read is somebody else's text
// and bounded.
package objects

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Key names an object. Namespace is empty for objects of the cluster.
type Key struct{ Kind, Namespace, Name string }

// String is the key as a user says it.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Namespace + "/" + k.Name
}

// Set is what was read.
type Set struct {
	ScaledObjects                 []*v1alpha1.ScaledObject
	ScaledJobs                    []*v1alpha1.ScaledJob
	TriggerAuthentications        []*v1alpha1.TriggerAuthentication
	ClusterTriggerAuthentications []*v1alpha1.ClusterTriggerAuthentication
	CloudEventSources             []*eventing.CloudEventSource
	ClusterCloudEventSources      []*eventing.ClusterCloudEventSource

	// Neighbours are ScaledObjects of a cluster beside those of files.
	Neighbours []*v1alpha1.ScaledObject
	// Conditions are what a cluster says of the objects of files that it has, and
	// Unasked why it says nothing of some.
	Conditions map[Key]v1alpha1.Conditions
	Unasked    []string
	// Others are what those are held against, as far as it was read with them.
	Others map[Key]client.Object
	// From is where in which file an object is, Unknown which of its fields
	// Sluice does not have.
	From    map[Key]Source
	Unknown map[Key][]string
	// Unread are objects that make no sense, and what could not be read.
	Unread []Unread
	// Ignored counts objects of kinds that have no part in this.
	Ignored int

	count int
}

// Unread is something that could not be read.
type Unread struct {
	// Key names the object, as far as it has a name.
	Key Key
	// Source is where it is, and Problem what is wrong.
	Source  Source
	Problem string
}

// New returns an empty set.
func New() *Set {
	return &Set{Others: map[Key]client.Object{}, From: map[Key]Source{}, Unknown: map[Key][]string{}}
}

// MostObjects is how many objects are read at most.
const MostObjects = 100_000

// unmarshal reads what every object has.
func unmarshal(text []byte, h *head) error {
	if json.Unmarshal(text, h) != nil {
		return errors.New("is no object: apiVersion, kind and metadata are needed")
	}
	if h.Kind == "" || h.APIVersion == "" {
		return errors.New("is no object: apiVersion and kind are needed")
	}
	return nil
}

// add takes in an object, and whatever is in a list. otherwise is the namespace
// of an object that names none.
func (s *Set) add(text []byte, from Source, otherwise string, depth int) error {
	var h head
	if err := unmarshal(text, &h); err != nil {
		s.unread(Key{}, from, err)
		return nil
	}
	if h.list() {
		if depth > 3 {
			s.unread(Key{}, from, errors.New("has lists in lists in lists"))
			return nil
		}
		for i, item := range h.Items {
			if err := s.add(item, from.item(i), otherwise, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if s.count++; s.count > MostObjects {
		return fmt.Errorf("%s: more than %d objects; check fewer at once", from, MostObjects)
	}
	object := s.empty(h.APIVersion, h.Kind)
	if object == nil {
		s.Ignored++
		return nil
	}
	key := Key{Kind: h.Kind, Name: h.Metadata.Name}
	if !cluster(object) {
		if key.Namespace = h.Metadata.Namespace; key.Namespace == "" {
			key.Namespace = otherwise
		}
	}
	if err := named(key); err != nil {
		s.unread(Key{Kind: h.Kind}, from, err)
		return nil
	}
	unknown, err := decode(text, object)
	if err != nil {
		s.unread(key, from, err)
		return nil
	}
	object.SetNamespace(key.Namespace)
	if first, twice := s.From[key]; twice && first.Compare(from) != 0 {
		s.unread(key, from, fmt.Errorf("is there already: %s", first))
		return nil
	}
	s.From[key] = from
	if len(unknown) > 0 {
		s.Unknown[key] = unknown
	}
	s.keep(key, object)
	return nil
}

func (s *Set) unread(key Key, from Source, err error) {
	s.Unread = append(s.Unread, Unread{Key: key, Source: from, Problem: quoted.ReplaceAllString(err.Error(), "`...`")})
}

// quoted is what a parser quotes of a text, which may be a secret.
var quoted = regexp.MustCompile("(?s)`.*`")

// named refuses what no API server would let an object be called: names go into
// what an administrator applies.
func named(key Key) error {
	if key.Name == "" {
		return errors.New("metadata.name: missing")
	}
	if len(validation.IsDNS1123Subdomain(key.Name)) > 0 {
		return errors.New("metadata.name: is no name that an object can have")
	}
	if key.Namespace == "" {
		return nil
	}
	if len(validation.IsDNS1123Label(key.Namespace)) > 0 {
		return errors.New("metadata.namespace: is no name that a namespace can have")
	}
	return nil
}

// empty is an object of a kind that has a part in this, nil for others.
func (s *Set) empty(apiVersion, kind string) client.Object {
	switch apiVersion + " " + kind {
	case "keda.sh/v1alpha1 ScaledObject":
		return &v1alpha1.ScaledObject{}
	case "keda.sh/v1alpha1 ScaledJob":
		return &v1alpha1.ScaledJob{}
	case "keda.sh/v1alpha1 TriggerAuthentication":
		return &v1alpha1.TriggerAuthentication{}
	case "keda.sh/v1alpha1 ClusterTriggerAuthentication":
		return &v1alpha1.ClusterTriggerAuthentication{}
	case "eventing.keda.sh/v1alpha1 CloudEventSource":
		return &eventing.CloudEventSource{}
	case "eventing.keda.sh/v1alpha1 ClusterCloudEventSource":
		return &eventing.ClusterCloudEventSource{}
	case "apps/v1 Deployment":
		return &appsv1.Deployment{}
	case "apps/v1 StatefulSet":
		return &appsv1.StatefulSet{}
	case "apps/v1 ReplicaSet":
		return &appsv1.ReplicaSet{}
	case "autoscaling/v2 HorizontalPodAutoscaler":
		return &autoscalingv2.HorizontalPodAutoscaler{}
	case "v1 LimitRange":
		return &corev1.LimitRange{}
	}
	return nil
}

func cluster(object client.Object) bool {
	switch object.(type) {
	case *v1alpha1.ClusterTriggerAuthentication, *eventing.ClusterCloudEventSource:
		return true
	}
	return false
}

func (s *Set) keep(key Key, object client.Object) {
	switch o := object.(type) {
	case *v1alpha1.ScaledObject:
		s.ScaledObjects = append(s.ScaledObjects, o)
	case *v1alpha1.ScaledJob:
		s.ScaledJobs = append(s.ScaledJobs, o)
	case *v1alpha1.TriggerAuthentication:
		s.TriggerAuthentications = append(s.TriggerAuthentications, o)
	case *v1alpha1.ClusterTriggerAuthentication:
		s.ClusterTriggerAuthentications = append(s.ClusterTriggerAuthentications, o)
	case *eventing.CloudEventSource:
		s.CloudEventSources = append(s.CloudEventSources, o)
	case *eventing.ClusterCloudEventSource:
		s.ClusterCloudEventSources = append(s.ClusterCloudEventSources, o)
	default:
		s.Others[key] = o
	}
}

// Triggers counts the triggers that families have to serve, by type.
func (s *Set) Triggers() map[string]int {
	types := map[string]int{}
	add := func(triggers []v1alpha1.ScaleTrigger) {
		for _, t := range triggers {
			if !t.Builtin() {
				types[t.Type]++
			}
		}
	}
	for _, so := range s.ScaledObjects {
		add(so.Spec.Triggers)
	}
	for _, sj := range s.ScaledJobs {
		add(sj.Spec.Triggers)
	}
	return types
}

// sort has everything in the same order, whatever the order of files.
func (s *Set) sort() {
	byName(s.ScaledObjects)
	byName(s.ScaledJobs)
	byName(s.TriggerAuthentications)
	byName(s.ClusterTriggerAuthentications)
	byName(s.CloudEventSources)
	byName(s.ClusterCloudEventSources)
}

func byName[T client.Object](objects []T) {
	slices.SortFunc(objects, func(a, b T) int {
		return strings.Compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName())
	})
}
