// Package why says in words why an object has the replicas that it has: what is
// looked at, what came of it, what limited that, who acts next, and what would
// change it. The controller that leads tells most of it; without one it is what the
// API server has, and what is missing is said.
package why

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/cures"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Object names the one that is asked about.
type Object struct {
	// Kind is ScaledObject or ScaledJob.
	Kind, Namespace, Name string
}

func (o Object) String() string { return o.Kind + " " + o.Namespace + "/" + o.Name }

// short is how the user writes it.
func (o Object) short() string {
	if o.Kind == account.ScaledJob {
		return "sj/" + o.Name
	}
	return "so/" + o.Name
}

// Jobs reports whether it starts Jobs and has no replicas.
func (o Object) Jobs() bool { return o.Kind == account.ScaledJob }

// kinds are the names of the two, as kubectl takes them.
var kinds = map[string]string{
	"so": account.ScaledObject, "scaledobject": account.ScaledObject, "scaledobjects": account.ScaledObject,
	"scaledobject.keda.sh": account.ScaledObject, "scaledobjects.keda.sh": account.ScaledObject,
	"sj": account.ScaledJob, "scaledjob": account.ScaledJob, "scaledjobs": account.ScaledJob,
	"scaledjob.keda.sh": account.ScaledJob, "scaledjobs.keda.sh": account.ScaledJob,
}

// Parse reads what a user types: so/orders.
func Parse(text, namespace string) (Object, error) {
	kind, name, both := strings.Cut(text, "/")
	if !both || name == "" || strings.Contains(name, "/") {
		return Object{}, fmt.Errorf("%q is not <kind>/<name>, such as so/orders or sj/batch", text)
	}
	known := kinds[strings.ToLower(kind)]
	if known == "" {
		text := fmt.Sprintf("%q is neither scaledobject (so) nor scaledjob (sj)", kind)
		if near := scalerv1.Nearest(strings.ToLower(kind), slices.Sorted(maps.Keys(kinds))); near != "" {
			text += ", did you mean " + near + "?"
		} else {
			text += ": name the one that scales it"
		}
		return Object{}, errors.New(text)
	}
	return Object{Kind: known, Namespace: namespace, Name: name}, nil
}

// IsKind reports whether a word is the name of one of the two kinds.
func IsKind(word string) bool { return kinds[strings.ToLower(word)] != "" }

func (o Object) resource() schema.GroupVersionResource {
	return v1alpha1.GroupVersion.WithResource(strings.ToLower(o.Kind) + "s")
}

// Cluster is an API server, with the rights of whoever asks.
type Cluster struct {
	Objects dynamic.Interface
	Core    kubernetes.Interface
}

// Connect returns the cluster that a configuration is for.
func Connect(config *rest.Config) (*Cluster, error) {
	config = rest.CopyConfig(config)
	answers.Bound(config)
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Cluster{Objects: objects, Core: core}, nil
}

// Facts are what there is to know about an object.
type Facts struct {
	Object
	// ScaledObject or ScaledJob is what the API server has, the other is nil.
	ScaledObject *v1alpha1.ScaledObject
	ScaledJob    *v1alpha1.ScaledJob
	// HPA is the object's, nil without one.
	HPA *autoscalingv2.HorizontalPodAutoscaler
	// Replicas are those of a target without an HPA, nil where they are not known.
	Replicas *int32
	// Events about the object, the latest first.
	Events []Event
	// Account is what the controller tells, nil where none does.
	Account *account.Account
	// Now is the time of the facts: by the controller's clock where it tells.
	Now time.Time
	// Missing says what could not be found out, and why.
	Missing []string
}

// Event is one about the object.
type Event struct {
	Time    time.Time `json:"time"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	// Times is how often it came.
	Times int32 `json:"times,omitempty"`
	// Cure is what helps, where something is not well.
	Cure string `json:"cure,omitempty"`
}

const (
	// mostEvents is how many are asked for, toldEvents how many are told.
	mostEvents = 200
	toldEvents = 5
)

// Read reads what the API server has of an object. What is beside it may be
// missing; the object may not.
func (c *Cluster) Read(ctx context.Context, of Object, now time.Time) (*Facts, error) {
	f := &Facts{Object: of, Now: now}
	found, err := c.Objects.Resource(of.resource()).Namespace(of.Namespace).Get(ctx, of.Name, metav1.GetOptions{})
	if err != nil {
		return nil, c.Missing(ctx, of, err)
	}
	if of.Jobs() {
		f.ScaledJob = &v1alpha1.ScaledJob{}
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(found.Object, f.ScaledJob)
	} else {
		f.ScaledObject = &v1alpha1.ScaledObject{}
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(found.Object, f.ScaledObject)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", of, err)
	}
	if so := f.ScaledObject; so != nil && so.Status.HpaName != "" {
		f.HPA, err = c.Core.AutoscalingV2().HorizontalPodAutoscalers(of.Namespace).Get(ctx, so.Status.HpaName, metav1.GetOptions{})
		if err != nil {
			f.HPA = nil
			f.Missing = append(f.Missing, fmt.Sprintf("HPA %s: %v", so.Status.HpaName, err))
		}
	}
	if f.ScaledObject != nil && f.HPA == nil {
		if f.Replicas, err = c.replicas(ctx, f.ScaledObject); err != nil {
			f.Missing = append(f.Missing, fmt.Sprintf("replicas: %v", err))
		}
	}
	if f.Events, err = c.events(ctx, of); err != nil {
		f.Missing = append(f.Missing, fmt.Sprintf("events: %v", err))
	}
	return f, ctx.Err()
}

// replicas are those of a Deployment or StatefulSet, nil of others.
func (c *Cluster) replicas(ctx context.Context, so *v1alpha1.ScaledObject) (*int32, error) {
	kind := so.TargetKind()
	resource := map[string]string{"Deployment": "deployments", "StatefulSet": "statefulsets"}[kind.Kind]
	if resource == "" || kind.Group != "apps" {
		return nil, nil
	}
	found, err := c.Objects.Resource(kind.GroupVersion().WithResource(resource)).Namespace(so.Namespace).Get(ctx, so.Spec.ScaleTargetRef.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil // condition Ready says it
	}
	if err != nil {
		return nil, err
	}
	count, is, err := unstructured.NestedInt64(found.Object, "spec", "replicas")
	if err != nil || !is || count < 0 || count > math.MaxInt32 {
		return nil, err
	}
	replicas := int32(count)
	return &replicas, nil
}

func (c *Cluster) events(ctx context.Context, of Object) ([]Event, error) {
	about := fields.Set{"involvedObject.kind": of.Kind, "involvedObject.name": of.Name}
	list, err := c.Core.CoreV1().Events(of.Namespace).List(ctx, metav1.ListOptions{FieldSelector: about.String(), Limit: mostEvents})
	if err != nil {
		return nil, err
	}
	var all []Event
	for i := range list.Items {
		if e := &list.Items[i]; e.InvolvedObject.Kind == of.Kind && e.InvolvedObject.Name == of.Name {
			all = append(all, event(e))
		}
	}
	latestFirst(all)
	return all[:min(len(all), toldEvents)], nil
}

// event is one as either API writes it.
func event(e *corev1.Event) Event {
	told := Event{Time: e.LastTimestamp.Time, Reason: e.Reason, Message: e.Message, Times: max(e.Count, 1)}
	if cure, is := cures.OfEvent(e.Reason); is {
		told.Cure = cure.Cure
	}
	if told.Time.IsZero() {
		told.Time = e.EventTime.Time
	}
	if e.Series != nil {
		told.Time, told.Times = e.Series.LastObservedTime.Time, e.Series.Count
	}
	return told
}
