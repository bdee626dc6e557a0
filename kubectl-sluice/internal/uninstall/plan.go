// Package uninstall removes Sluice in the order in which nothing is stranded,
// whatever was removed before: who writes first, then what the API server asks,
// then finalizers that nobody is there for any more, then the rest. The objects of
// users, their HPAs and their replicas stay.
package uninstall

import (
	"context"

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
