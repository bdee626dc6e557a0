package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
	"github.com/sluice-autoscaler/sluice/controller/rules"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/outbound"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Options say how the two are installed.
type Options struct {
	// Namespace is Sluice's.
	Namespace string
	// ClusterObjects is where Secrets of ClusterTriggerAuthentications are.
	ClusterObjects string
	// KEDANamespace and KEDAAccount are KEDA's ServiceAccount.
	KEDANamespace, KEDAAccount string
	// ByNamespace grants families whole namespaces, as the components
	// grant-namespace do, in place of single objects.
	ByNamespace bool
	// Families know their triggers' parameters: nil are those of this version.
	Families rules.Families
}

func (o Options) judges() rules.Families {
	if o.Families == nil {
		return families.Described{}
	}
	return o.Families
}

// check is one run.
type check struct {
	Options
	set    *objects.Set
	reader *objects.Reader
	judge  rules.Judge
	kinds  *kinds.Discovery

	authentications map[objects.Key]*authentication
	families        map[string]map[string]int
	unserved        map[string]int
	grants          map[[2]string]*grant
	trusts          map[[2]string]*trust
	targets         map[string]*TargetKind
}

// Check judges all objects of a set. live is the cluster that they are of, nil
// for files.
func Check(ctx context.Context, set *objects.Set, live *objects.Cluster, o Options) *Report {
	reader := objects.NewReader(set, live)
	discovery := &kinds.Discovery{API: reader, Now: time.Now}
	c := &check{
		Options: o, set: set, reader: reader, kinds: discovery,
		judge: rules.Judge{
			Objects: reader, Targets: targets{discovery}, Families: o.judges(),
			Limits: v1alpha1.DefaultLimits, Strict: true,
		},
		authentications: map[objects.Key]*authentication{}, families: map[string]map[string]int{}, unserved: map[string]int{},
		grants: map[[2]string]*grant{}, trusts: map[[2]string]*trust{}, targets: map[string]*TargetKind{},
	}
	var all []*Object
	all = append(all, c.allAuthentications()...)
	for _, so := range set.ScaledObjects {
		all = append(all, c.scaledObject(ctx, so))
	}
	for _, sj := range set.ScaledJobs {
		all = append(all, c.scaledJob(ctx, sj))
	}
	for _, s := range set.CloudEventSources {
		all = append(all, c.cloudEventSource("CloudEventSource", s))
	}
	for _, s := range set.ClusterCloudEventSources {
		all = append(all, c.cloudEventSource("ClusterCloudEventSource", s))
	}
	return c.report(ctx, all, live)
}

// targets knows kinds. What the controller may do is said for each kind once.
type targets struct{ *kinds.Discovery }

// Kind finds it out of what the cluster, or the files, say.
func (t targets) Kind(so *v1alpha1.ScaledObject) (v1alpha1.GroupVersionKindResource, error) {
	return t.Resolve(so.Spec.ScaleTargetRef)
}

func (targets) Granted(context.Context, v1alpha1.GroupVersionKindResource, string) error { return nil }

// subject is an object with triggers.
type subject struct {
	*Object
	triggers []v1alpha1.ScaleTrigger
	// workload is its target, looked for when somebody needs it.
	workload func() (federation.Workload, string)
	// served are the triggers as families see them.
	served func(federation.Workload) []federation.Trigger
}

// Dropped is said of a field that Sluice does not have.
const Dropped = "is no field that Sluice has: it is dropped"

func (c *check) object(kind string, o client.Object) *Object {
	object := &Object{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
	object.From = c.set.From[object.Key()].String()
	for _, field := range c.set.Unknown[object.Key()] {
		object.find(Finding{Class: Differs, Field: field, Text: Dropped})
	}
	return object
}

// find adds a finding that is not there yet.
func (o *Object) find(f Finding) {
	same := func(other Finding) bool {
		return other.Class == f.Class && other.Field == f.Field && other.Text == f.Text &&
			(other.Trigger == nil) == (f.Trigger == nil) && (f.Trigger == nil || *f.Trigger == *other.Trigger)
	}
	if !slices.ContainsFunc(o.Findings, same) {
		o.Findings = append(o.Findings, f)
	}
}

// of adds a finding about a trigger.
func (s *subject) of(i int, class Class, field, format string, args ...any) {
	s.find(Finding{Class: class, Trigger: &i, Type: s.triggers[i].Type, Field: field, Text: fmt.Sprintf(format, args...)})
}

// about takes what package rules says apart.
var about = regexp.MustCompile(`(?s)^trigger ([0-9]+) \(([^)]*)\): (?:([A-Za-z0-9_.-]+): )?(.*)$`)

// harmless is what package rules calls a problem and KEDA passes over, too: the
// trigger works without.
var harmless = regexp.MustCompile(`^(unknown parameter|ignored, )`)

// told adds what package rules says of an object.
func (o *Object) told(v rules.Verdict) {
	for _, r := range v.Refusals {
		f := findingOf(Cannot, r.Text)
		if r.Reason == rules.ReasonMetadata && harmless.MatchString(f.Text) {
			f.Class = Warning
		}
		o.find(f)
	}
	for _, text := range v.Warnings {
		if strings.Contains(text, objects.ErrNoCluster.Error()) {
			continue // said of the kind
		}
		o.find(findingOf(Warning, text))
	}
}

func findingOf(class Class, text string) Finding {
	if parts := about.FindStringSubmatch(text); parts != nil {
		if i, err := strconv.Atoi(parts[1]); err == nil {
			return Finding{Class: class, Trigger: &i, Type: parts[2], Field: parts[3], Text: parts[4]}
		}
	}
	if field, rest, found := strings.Cut(text, ": "); found && !strings.Contains(field, " ") {
		return Finding{Class: class, Field: field, Text: rest}
	}
	return Finding{Class: class, Text: text}
}

func (c *check) scaledObject(ctx context.Context, so *v1alpha1.ScaledObject) *Object {
	o := c.object("ScaledObject", so)
	o.told(c.judge.ScaledObject(ctx, rules.Review[*v1alpha1.ScaledObject]{Object: so, Create: true}))
	if so.Spec.Exceeds != "" {
		return o
	}
	for _, err := range so.AnnotationProblems() {
		o.find(Finding{Class: Warning, Text: err.Error()})
	}
	kind, known := c.targetKind(o, so)
	s := &subject{
		Object: o, triggers: so.Spec.Triggers,
		served:   func(w federation.Workload) []federation.Trigger { return federation.TriggersOf(so, w) },
		workload: onceWorkload(func() (federation.Workload, string) { return c.workload(ctx, so, kind, known) }),
	}
	c.allTriggers(s)
	differences(s, so)
	return o
}

func (c *check) scaledJob(ctx context.Context, sj *v1alpha1.ScaledJob) *Object {
	o := c.object("ScaledJob", sj)
	o.told(c.judge.ScaledJob(ctx, rules.Review[*v1alpha1.ScaledJob]{Object: sj, Create: true}))
	if sj.Spec.Exceeds != "" {
		return o
	}
	s := &subject{
		Object: o, triggers: sj.Spec.Triggers,
		served: func(federation.Workload) []federation.Trigger { return federation.TriggersOfJob(sj) },
		workload: onceWorkload(func() (federation.Workload, string) {
			var w federation.Workload
			if sj.Spec.JobTargetRef != nil {
				w.Template = &sj.Spec.JobTargetRef.Template
				w.ServiceAccount = federation.ServiceAccountOf(w.Template)
			}
			return w, ""
		}),
	}
	c.allTriggers(s)
	jobDifferences(s, sj)
	return o
}

// onceWorkload looks for a workload when it is needed, and once.
func onceWorkload(look func() (federation.Workload, string)) func() (federation.Workload, string) {
	var found federation.Workload
	var why string
	looked := false
	return func() (federation.Workload, string) {
		if !looked {
			found, why = look()
			looked = true
		}
		return found, why
	}
}

// workload reads the target of an object, or says why it is not known.
func (c *check) workload(ctx context.Context, so *v1alpha1.ScaledObject, kind v1alpha1.GroupVersionKindResource, known bool) (federation.Workload, string) {
	name := so.Spec.ScaleTargetRef.TargetKind() + " " + so.Namespace + "/" + so.Spec.ScaleTargetRef.Name
	if !known {
		return federation.Workload{}, name + " is not known"
	}
	object := federation.NewWorkload(kind.GVK())
	if object == nil {
		return federation.Workload{}, "what is in " + name + " is not looked at"
	}
	if err := c.reader.Get(ctx, client.ObjectKey{Namespace: so.Namespace, Name: so.Spec.ScaleTargetRef.Name}, object); err != nil {
		return federation.Workload{}, err.Error()
	}
	_, template := federation.ReadWorkload(object)
	return federation.Workload{Template: template, ServiceAccount: federation.ServiceAccountOf(template)}, ""
}

// targetKind finds out what an object scales. A kind that the installation does
// not come with needs permissions.
func (c *check) targetKind(o *Object, so *v1alpha1.ScaledObject) (v1alpha1.GroupVersionKindResource, bool) {
	ref := so.Spec.ScaleTargetRef
	kind, err := c.kinds.Resolve(ref)
	guessed := false
	switch {
	case errors.Is(err, objects.ErrNoCluster):
		given := so.TargetKind()
		kind = v1alpha1.GroupVersionKindResource{Group: given.Group, Version: given.Version, Kind: given.Kind, Resource: plural(given.Kind)}
		guessed = true
		if text := notGuessed(kind); text != "" {
			o.find(Finding{Class: Cannot, Field: "scaleTargetRef", Text: text})
			return kind, false
		}
	case err != nil:
		var unscalable *kinds.UnscalableError
		if errors.As(err, &unscalable) {
			o.find(Finding{Class: Cannot, Field: "scaleTargetRef", Text: err.Error()})
		}
		return kind, false
	}
	if kinds.Usual(kind) || kind.Group == "apps" && kind.Kind == "ReplicaSet" {
		return kind, true
	}
	name := kind.Resource + "." + kind.Group
	if c.targets[name] == nil {
		c.targets[name] = &TargetKind{Group: kind.Group, Resource: kind.Resource, Kind: kind.Kind, Guessed: guessed}
	}
	c.targets[name].Objects = append(c.targets[name].Objects, o.Key().String())
	o.find(Finding{Class: Needs, Field: "scaleTargetRef", Text: fmt.Sprintf("controller and adapter have to be let scale %s", strings.TrimSuffix(name, "."))})
	return kind, true
}

// notGuessed says why a kind that a manifest names, and no API server, is given no
// permissions: a role must not be about more than what it names, and of Kubernetes'
// own group one kind has replicas.
func notGuessed(kind v1alpha1.GroupVersionKindResource) string {
	switch {
	case kind.Group == "" && kind.Kind != "ReplicationController":
		return kind.Kind + " has no replicas to be set"
	case kind.Group != "" && len(validation.IsDNS1123Subdomain(kind.Group)) > 0:
		return fmt.Sprintf("apiVersion names group %q, which is none", kind.Group)
	case len(validation.IsDNS1123Label(kind.Resource)) > 0:
		return fmt.Sprintf("kind %q is none", kind.Kind)
	}
	return ""
}

// plural is what a kind's resource is mostly called.
func plural(kind string) string {
	word := strings.ToLower(kind)
	switch {
	case strings.HasSuffix(word, "s"), strings.HasSuffix(word, "x"), strings.HasSuffix(word, "ch"):
		return word + "es"
	case strings.HasSuffix(word, "y"):
		return strings.TrimSuffix(word, "y") + "ies"
	}
	return word + "s"
}

// allTriggers finds out what the triggers of an object need.
func (c *check) allTriggers(s *subject) {
	for i, t := range s.triggers {
		if t.Builtin() {
			continue
		}
		f := families.Of(t.Type)
		if f == nil {
			c.unserved[t.Type]++
			s.of(i, Cannot, "type", "%s", noFamily(t.Type))
			continue
		}
		if c.families[f.Name] == nil {
			c.families[f.Name] = map[string]int{}
		}
		c.families[f.Name][t.Type]++
		if !slices.Contains(s.Families, f.Name) {
			s.Families = append(s.Families, f.Name)
		}
		c.trigger(s, i, t, f)
	}
	slices.Sort(s.Families)
}

// NobodyServes is said of a trigger type that is no slip of another.
const NobodyServes = "no family of this version serves it; a scaler of your own can, as type external"

func noFamily(triggerType string) string {
	if near := scalerv1.Nearest(triggerType, families.Types()); near != "" {
		return fmt.Sprintf("no family serves it, did you mean %s?", near)
	}
	return NobodyServes
}

// trigger finds out what one trigger needs.
func (c *check) trigger(s *subject, i int, t v1alpha1.ScaleTrigger, f *families.Family) {
	if f.NamespaceRole != "" {
		c.grant(s.Namespace, f.Name).role = f.NamespaceRole
		s.of(i, Needs, "", "family %s has to be let read what ClusterRole %s has, in namespace %s", f.Name, f.NamespaceRole, s.Namespace)
	}
	addresses(s, i, t)
	if !f.Credentials {
		if t.AuthenticationRef != nil {
			s.of(i, Cannot, "authenticationRef", "family %s takes no credentials and refuses it: leave it out", f.Name)
		}
		return
	}
	if slices.ContainsFunc(f.Types[t.Type].GetParameters(), func(p *scalerv1.Parameter) bool { return p.GetName() == "identityOwner" }) &&
		t.Metadata["identityOwner"] == "operator" {
		c.trust(s, i, f.Name, "aws", "")
	}
	c.references(s, i, t, f)
}

// isAddress tells keys of parameters whose values are addresses.
var isAddress = regexp.MustCompile(`(?i)(host|hosts|address|addresses|url|uri|endpoint|servers|server)$`)

// addresses finds those that no family dials.
func addresses(s *subject, i int, t v1alpha1.ScaleTrigger) {
	for _, key := range slices.Sorted(maps.Keys(t.Metadata)) {
		value := t.Metadata[key]
		if !isAddress.MatchString(key) || strings.HasSuffix(key, scalerv1.FromEnvSuffix) {
			continue
		}
		if key == "scalerAddress" {
			if _, _, err := outbound.HostPort(value); err != nil {
				s.of(i, Cannot, key, "%v", err)
				continue
			}
		}
		for _, host := range hosts(value) {
			if err := outbound.CheckHost(host); err != nil {
				s.of(i, Needs, key, "%v, which no family dials without --allow-source-address", err)
			}
		}
	}
}

func (c *check) cloudEventSource(kind string, source eventing.Source) *Object {
	o := c.object(kind, source)
	wants := source.Wants()
	switch {
	case wants.Destination.AzureEventGridTopic != nil:
		o.find(Finding{Class: Cannot, Field: "destination.azureEventGridTopic", Text: "needs credentials, which the controller never has; send to an HTTP sink that forwards"})
	case wants.Destination.HTTP == nil:
		o.find(Finding{Class: Cannot, Field: "destination", Text: "none given"})
	default:
		for _, host := range hosts(wants.Destination.HTTP.URI) {
			if err := outbound.CheckHost(host); err != nil {
				o.find(Finding{Class: Cannot, Field: "destination.http.uri", Text: err.Error() + ", to which no event is sent"})
			}
		}
	}
	if wants.AuthenticationRef != nil {
		o.find(Finding{Class: Differs, Field: "authenticationRef", Text: "is not used: sending over HTTP has none"})
	}
	return o
}

// report puts everything together.
func (c *check) report(ctx context.Context, all []*Object, live *objects.Cluster) *Report {
	r := &Report{Outcome: Unchanged, Objects: all, Families: []Family{}}
	if r.Objects == nil {
		r.Objects = []*Object{}
	}
	for _, name := range slices.Sorted(maps.Keys(c.families)) {
		r.Families = append(r.Families, Family{Name: name, Types: c.families[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(c.unserved)) {
		r.Unserved = append(r.Unserved, Unserved{Type: name, Triggers: c.unserved[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(c.targets)) {
		r.TargetKinds = append(r.TargetKinds, *c.targets[name])
	}
	r.Grants = c.allGrants()
	r.Trust = c.allTrust(ctx, live)
	r.Roles = c.Roles(r.Grants, r.TargetKinds)
	for _, u := range c.set.Unread {
		object := ""
		if u.Key.Kind != "" {
			object = strings.TrimSpace(u.Key.String())
		}
		r.Unread = append(r.Unread, Unread{Object: object, From: u.Source.String(), Problem: u.Problem})
	}
	for _, o := range all {
		o.conclude()
		r.Counts.Objects++
		switch o.Outcome {
		case CannotServe:
			r.Counts.Cannot++
		case NeedsWork:
			r.Counts.Needs++
		default:
			r.Counts.Unchanged++
		}
	}
	switch {
	case r.Counts.Cannot > 0 || len(r.Unread) > 0:
		r.Outcome = CannotServe
	case r.Counts.Needs > 0:
		r.Outcome = NeedsWork
	}
	return r
}

// conclude puts findings in order, the worst first, and says what they mean.
func (o *Object) conclude() {
	order := []Class{Cannot, Needs, Differs, Warning}
	o.Findings = slices.DeleteFunc(o.Findings, func(f Finding) bool {
		worse := func(other Finding) bool {
			return other.Class == Cannot && other.Field == f.Field && other.Text == f.Text
		}
		return f.Class == Warning && f.Trigger == nil && slices.ContainsFunc(o.Findings, worse)
	})
	place := func(f Finding) int {
		if f.Trigger == nil {
			return -1
		}
		return *f.Trigger
	}
	slices.SortStableFunc(o.Findings, func(a, b Finding) int {
		return cmp.Or(slices.Index(order, a.Class)-slices.Index(order, b.Class), place(a)-place(b))
	})
	o.Outcome = Unchanged
	if len(o.Findings) > 0 {
		switch o.Findings[0].Class {
		case Cannot:
			o.Outcome = CannotServe
		case Needs:
			o.Outcome = NeedsWork
		case Differs, Warning:
		}
	}
}
