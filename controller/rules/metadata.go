package rules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// triggers holds each trigger against what its family says of the type. What is
// wrong is refused or warned of, as the installation wants it; a family that is
// not there makes nothing wrong. metricType checks the field for the kind, and
// served are the triggers as their families see them.
func (j *Judge) triggers(
	ctx context.Context, triggers []v1alpha1.ScaleTrigger, served []federation.Trigger, metricType func(v1alpha1.ScaleTrigger) error, v *Verdict,
) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i, t := range triggers {
		var found findings
		found.add(metricType(t))
		if t.Builtin() {
			found.builtin(t)
		} else {
			j.described(t, &found)
			j.checked(ctx, i, served, &found)
		}
		switch {
		case len(t.SecretKeyRef) == 0:
		case ofCluster(t):
			v.refuse(ReasonTriggers, fmt.Errorf("trigger %d (%s): secretKeyRef: cannot be beside a ClusterTriggerAuthentication; name the Secrets in a TriggerAuthentication", i, t.Type))
		default:
			found.hint("secretKeyRef: ties the trigger to its Secrets; for more than a try, name them in a TriggerAuthentication")
		}
		for _, text := range reserved(t) {
			v.refuse(ReasonTriggers, fmt.Errorf("trigger %d (%s): %s", i, t.Type, text))
		}
		for _, text := range found.problems {
			if j.Strict {
				v.refuse(ReasonMetadata, fmt.Errorf("trigger %d (%s): %s", i, t.Type, text))
				continue
			}
			v.warn("trigger %d (%s): %s", i, t.Type, text)
		}
		for _, text := range found.hints {
			v.warn("trigger %d (%s): %s", i, t.Type, text)
		}
	}
}

// ofCluster reports whether a trigger has a ClusterTriggerAuthentication.
func ofCluster(t v1alpha1.ScaleTrigger) bool {
	return t.AuthenticationRef != nil && t.AuthenticationRef.AuthenticationKind() == clusterAuthentication
}

// findings are what there is to say about one trigger.
type findings struct {
	problems []string // refused when the installation is strict
	hints    []string // never refused
}

// add adds the problems joined in err that are not known yet.
func (f *findings) add(err error) {
	for _, text := range lines(err) {
		if !slices.Contains(f.problems, text) {
			f.problems = append(f.problems, text)
		}
	}
}

func (f *findings) hint(format string, args ...any) {
	f.hints = append(f.hints, fmt.Sprintf(format, args...))
}

// reserved says which keys a user may not give: the core would drop them.
func reserved(t v1alpha1.ScaleTrigger) []string {
	var texts []string
	for key := range t.Metadata {
		if scalerv1.IsReserved(key) {
			texts = append(texts, key+": keys with prefix "+scalerv1.ReservedPrefix+" are reserved")
		}
	}
	slices.Sort(texts)
	return texts
}

// builtinType describes cpu and memory, which no family serves.
var builtinType = &scalerv1.TriggerType{Parameters: []*scalerv1.Parameter{
	{Name: "value", Sources: []scalerv1.ValueSource{scalerv1.ValueSource_VALUE_SOURCE_TRIGGER}},
	{Name: "containerName", Sources: []scalerv1.ValueSource{scalerv1.ValueSource_VALUE_SOURCE_TRIGGER}},
	{Name: "type", Sources: []scalerv1.ValueSource{scalerv1.ValueSource_VALUE_SOURCE_TRIGGER}},
}}

func (f *findings) builtin(t v1alpha1.ScaleTrigger) {
	if len(f.problems) == 0 { // else the metricType is wrong, and the value is read by it
		_, err := scaling.Builtin(t)
		f.add(err)
	}
	f.problems = append(f.problems, builtinType.Unknown(t.Metadata)...)
}

// described holds a trigger against its family's description.
func (j *Judge) described(t v1alpha1.ScaleTrigger, f *findings) {
	described, err := j.Families.Describe(t.Type)
	switch code := status.Code(err); {
	case err == nil:
		f.parameters(t, described)
	case errors.Is(err, federation.ErrNoDescription), code == codes.Unavailable: // a third party, or a family that starts just now
	case code == codes.InvalidArgument: // no Service can have that name, or it is a slip of one
		f.add(err)
	default: // a family that is yet to come, or one that is not installed as it should be
		f.hint("%v", err)
	}
}

// checked adds what the family itself says is wrong with a trigger, where
// nothing was said of that parameter yet. One that does not answer in time has
// nothing to say.
func (j *Judge) checked(ctx context.Context, index int, served []federation.Trigger, f *findings) {
	for _, t := range served {
		if t.Index != index {
			continue
		}
		problems, err := j.Families.Check(ctx, t)
		if err != nil {
			return
		}
		known := f.problems
		for _, text := range problems {
			same := func(other string) bool { return subject(other) == subject(text) }
			if !slices.ContainsFunc(known, same) {
				f.add(errors.New(text))
			}
		}
	}
}

// subject is the parameter that a problem is about.
func subject(problem string) string {
	key, _, _ := strings.Cut(problem, ":")
	return key
}

// parameters holds metadata against the described parameters.
func (f *findings) parameters(t v1alpha1.ScaleTrigger, described *scalerv1.TriggerType) {
	for _, p := range described.GetParameters() {
		f.parameter(given{t}, p)
	}
	f.problems = append(f.problems, described.Unknown(t.Metadata)...)
}

func (f *findings) parameter(g given, p *scalerv1.Parameter) {
	for _, key := range p.Keys() {
		if g.text(key) != "" {
			f.deprecated(key, p)
		}
	}
	for _, source := range p.GetSources() {
		key, elsewhere := g.has(source, p)
		switch {
		case elsewhere: // only the family can see the value
			return
		case key != "":
			if err := checkText(p, g.text(key)); err != nil {
				f.problems = append(f.problems, key+": "+err.Error())
			}
			return
		}
	}
	if p.GetRequired() {
		f.problems = append(f.problems, fmt.Sprintf("%s: is required (looked in %s)", p.GetName(), strings.Join(p.Places(p.GetName()), ", ")))
	}
}

// deprecated says that a key should not be used any more, or cannot be.
func (f *findings) deprecated(key string, p *scalerv1.Parameter) {
	switch instead, removed := strings.CutPrefix(p.GetDeprecated(), "removed: "); {
	case removed:
		f.add(fmt.Errorf("%s: was removed: %s", key, instead))
	case instead != "":
		f.hint("%s: deprecated, %s", key, instead)
	}
}

// given is what a trigger gives by itself.
type given struct{ trigger v1alpha1.ScaleTrigger }

// text is the trimmed value of a key; blank counts as absent.
func (g given) text(key string) string { return strings.TrimSpace(g.trigger.Metadata[key]) }

// has looks for a parameter in one source: key is where the metadata have it,
// and elsewhere is true when a variable or an authentication may.
func (g given) has(source scalerv1.ValueSource, p *scalerv1.Parameter) (key string, elsewhere bool) {
	if source == scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION {
		inline := func(ref v1alpha1.TargetRef) bool { return slices.Contains(p.Keys(), ref.Parameter) }
		return "", g.trigger.AuthenticationRef != nil || slices.ContainsFunc(g.trigger.SecretKeyRef, inline)
	}
	for _, key := range p.Keys() {
		switch source {
		case scalerv1.ValueSource_VALUE_SOURCE_ENV:
			if g.text(scalerv1.EnvKey(key)) != "" {
				return "", true
			}
		default:
			if g.text(key) != "" {
				return key, false
			}
		}
	}
	return "", false
}

// checkText holds a text against the syntax of its parameter. Lists and maps
// have separators that descriptions do not tell, so their family checks them.
func checkText(p *scalerv1.Parameter, text string) error {
	var err error
	switch p.GetType() {
	case scalerv1.ValueType_VALUE_TYPE_INTEGER:
		_, err = scalerv1.ParseInteger(text, 64)
	case scalerv1.ValueType_VALUE_TYPE_FLOAT:
		_, err = scalerv1.ParseFloat(text)
	case scalerv1.ValueType_VALUE_TYPE_BOOL:
		_, err = scalerv1.ParseBool(text)
	case scalerv1.ValueType_VALUE_TYPE_DURATION:
		_, err = scalerv1.ParseDuration(text)
	case scalerv1.ValueType_VALUE_TYPE_QUERY:
		_, err = scalerv1.ParseQuery(text)
	case scalerv1.ValueType_VALUE_TYPE_STRING:
	default:
		return nil
	}
	if allowed := p.GetAllowedValues(); err == nil && len(allowed) > 0 && !slices.Contains(allowed, text) {
		err = scalerv1.TextError{Text: text, Reason: "is not one of " + strings.Join(allowed, ", ")}
	}
	return err
}
