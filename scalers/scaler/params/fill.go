package params

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Lookup is everything that a trigger's parameters may come from.
type Lookup struct {
	Metadata map[string]string // the user's own keys
	Env      map[string]string // variables of the scale target
	Auth     map[string]string // authentication parameters

	// AuthPending and EnvPending are true as long as references are not
	// resolved: what is not found there may still turn up.
	AuthPending, EnvPending bool

	FixedBy string // the ClusterTriggerAuthentication that auth is of, or ""
}

// hit is where a parameter's value was found.
type hit struct {
	text   string // trimmed, not blank
	key    string // as typed: a spelling of the parameter
	source scalerv1.ValueSource
}

// find returns the first value that is not blank, source by source and in each
// spelling by spelling. pending is true when a source before it is not known
// yet; the value is then the best guess.
func (l Lookup) find(f *field) (found *hit, pending bool) {
	for _, source := range f.sources {
		for _, key := range f.keys() {
			text, unknown := l.read(source, key)
			pending = pending || unknown
			if text != "" {
				if f.binary && source == scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION {
					text = l.Auth[key]
				}
				return &hit{text: text, key: key, source: source}, pending
			}
		}
	}
	return nil, pending
}

func (l Lookup) read(source scalerv1.ValueSource, key string) (text string, unknown bool) {
	switch source {
	case scalerv1.ValueSource_VALUE_SOURCE_ENV:
		return l.variable(l.Metadata[scalerv1.EnvKey(key)])
	case scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION:
		return strings.TrimSpace(l.Auth[key]), l.AuthPending
	default:
		return strings.TrimSpace(l.Metadata[key]), false
	}
}

// variable returns the value of the variable that a "<key>FromEnv" names.
func (l Lookup) variable(name string) (text string, unknown bool) {
	name = strings.TrimSpace(name)
	if name == "" {
		return "", false
	}
	text, known := l.Env[name]
	return strings.TrimSpace(text), l.EnvPending && !known
}

// passed returns the metadata as it goes to a source that reads it by itself,
// and the keys that are left out because their variable has no value.
func (l Lookup) passed() (metadata map[string]string, dropped []string, pending bool) {
	metadata = make(map[string]string, len(l.Metadata))
	for key, text := range l.Metadata {
		if strings.HasSuffix(key, scalerv1.FromEnvSuffix) {
			var unknown bool
			if text, unknown = l.variable(text); text == "" {
				dropped = append(dropped, key)
				pending = pending || unknown
				continue
			}
		}
		metadata[key] = text
	}
	slices.Sort(dropped)
	return metadata, dropped, pending
}

// Given is everything that a params struct is made of.
type Given struct {
	Lookup
	// Object is embedded by the params struct. It is given its metadata then.
	Object *contract.Object
	// PassThrough is set when unknown metadata is for the source.
	PassThrough bool
	// Identity is embedded, too; nil while it is not known.
	Identity *contract.PodIdentity
}

// Filled is what came of making a params struct.
type Filled struct {
	Problems Problems
	Warnings []string
	Pending  bool // something depends on what is not resolved yet
}

// Fill makes a params struct, which target is, addressably. Its rules are
// checked unless something is pending.
func (p *Plan) Fill(target reflect.Value, from Given) Filled {
	w := &filling{Given: from, target: target}
	w.fields(p.fields)
	w.embedObject(p)
	w.embedIdentity(p)
	if !w.Pending {
		w.Problems.merge(p.validate(target))
		w.lending(p)
	}
	return w.Filled
}

// filling is the work of making one params struct.
type filling struct {
	Given
	target reflect.Value // the params struct, addressable
	Filled
}

// fields fills in every parameter: default first, then what was found.
func (w *filling) fields(fields []*field) {
	for _, f := range fields {
		w.field(f)
	}
}

func (w *filling) field(f *field) {
	if f.hasDefault {
		value, _ := f.convert(f.def) // checked when the trigger type was defined
		w.set(f, value)
	}
	found, pending := w.find(f)
	w.Pending = w.Pending || pending
	if found == nil && w.fromUnknownVariable(f) {
		w.mark(f)
	}
	switch {
	case found == nil && f.required && !pending:
		w.Problems.Add(f.name, errors.New("is required (looked in "+w.places(f)+")"))
	case found == nil && !pending:
		w.missing(f)
	case found == nil:
	case f.once && len(w.occurrences(f)) > 1:
		w.Problems.Add(f.name, fmt.Errorf("is given in %s, give it once", strings.Join(w.occurrences(f), " and ")))
	case w.fixed(f, found):
		w.Problems.Add(found.key, fmt.Errorf("is fixed by %s and cannot be given by %s", w.FixedBy, found.source.Place(found.key)))
	case f.removed != "":
		w.Problems.Add(found.key, errors.New("was removed: "+f.removed))
	default:
		w.found(f, found, pending)
	}
}

// fixed reports whether the object gives what a ClusterTriggerAuthentication
// gives, too: who names another server would be sent the login. The same value
// is no contradiction, but guesses at a secret are not told apart.
func (w *filling) fixed(f *field, found *hit) bool {
	if w.FixedBy == "" || found.source == scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION || !f.from(scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION) {
		return false
	}
	given := func(key string) string { return strings.TrimSpace(w.Auth[key]) }
	return slices.ContainsFunc(f.keys(), func(key string) bool { return given(key) != "" && (f.secret || given(key) != found.text) }) ||
		slices.ContainsFunc(f.together, func(key string) bool { return given(key) != "" })
}

// missing warns of variables that were named for a parameter in vain: whoever
// names one does not mean the default.
func (w *filling) missing(f *field) {
	if !f.from(scalerv1.ValueSource_VALUE_SOURCE_ENV) {
		return
	}
	for _, key := range f.keys() {
		if variable := strings.TrimSpace(w.Metadata[scalerv1.EnvKey(key)]); variable != "" {
			w.Warnings = append(w.Warnings, fmt.Sprintf("%s: variable %s has no value", scalerv1.EnvKey(key), variable))
		}
	}
}

// Unresolved stands for the text of a variable that is not resolved yet, where
// nothing but the names of metrics is made of it. It is of letters, so that it
// shows in a name however that is escaped.
const Unresolved = "sluiceUnresolvedVariable"

// mark gives f the text that stands for an unresolved one, if f is of text.
func (w *filling) mark(f *field) {
	if value, err := f.convert(Unresolved); err == nil {
		w.set(f, value)
	}
}

// fromUnknownVariable reports whether the trigger names a variable for f whose
// value is not resolved yet.
func (w *filling) fromUnknownVariable(f *field) bool {
	if !f.from(scalerv1.ValueSource_VALUE_SOURCE_ENV) {
		return false
	}
	for _, key := range f.keys() {
		if _, unknown := w.variable(w.Metadata[scalerv1.EnvKey(key)]); unknown {
			return true
		}
	}
	return false
}

// longestText is that of a parameter of which names, addresses and metrics are made,
// in bytes. Each of them, and each error that names them, is as long.
const longestText = 4 << 10

func (w *filling) found(f *field, found *hit, pending bool) {
	if f.deprecated != "" {
		w.Warnings = append(w.Warnings, found.key+": deprecated, "+f.deprecated)
	}
	value, err := f.convert(found.text)
	if err == nil && !f.binary && !isText(found.text) {
		err = fmt.Errorf("the value from %s is binary and not text", found.source.Place(found.key))
	}
	if !f.long && len(found.text) > longestText {
		w.Problems.Add(found.key, fmt.Errorf("has %d bytes, more than %d", len(found.text), longestText))
		return
	}
	switch {
	case err == nil:
		w.set(f, value)
	case !pending: // else it may not be the value at all
		w.Problems.Add(found.key, found.show(err, f.secret))
	}
}

// isText is false for what nobody can have meant as text.
func isText(value string) bool {
	return utf8.ValidString(value) && !strings.ContainsRune(value, 0)
}

// show hides the text of what may be a secret.
func (h *hit) show(err error, secret bool) error {
	var bad scalerv1.TextError
	if h.source == scalerv1.ValueSource_VALUE_SOURCE_TRIGGER && !secret || !errors.As(err, &bad) {
		return err
	}
	return fmt.Errorf("the value from %s %s", h.source.Place(h.key), bad.Reason)
}

func (w *filling) set(f *field, value any) {
	target := w.target.FieldByIndex(f.index)
	if f.optional {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	f.value.set(target, value)
}

// places says where a parameter was looked for, with a variable that was named
// but has no value.
func (w *filling) places(f *field) string {
	places := make([]string, len(f.sources))
	for i, source := range f.sources {
		places[i] = source.Place(f.name)
		if source != scalerv1.ValueSource_VALUE_SOURCE_ENV {
			continue
		}
		for _, key := range f.keys() {
			if variable := strings.TrimSpace(w.Metadata[scalerv1.EnvKey(key)]); variable != "" {
				places[i] = fmt.Sprintf("%s: variable %s has no value", source.Place(key), variable)
			}
		}
	}
	return strings.Join(places, ", ")
}

// occurrences are the places where the parameter is.
func (w *filling) occurrences(f *field) []string {
	var places []string
	for _, source := range f.sources {
		for _, key := range f.keys() {
			if text, _ := w.read(source, key); text != "" {
				places = append(places, source.Place(key))
			}
		}
	}
	return places
}

// embedObject fills in the embedded Object, and what it has from the metadata.
func (w *filling) embedObject(p *Plan) {
	if p.object == nil {
		return
	}
	var dropped []string
	var pending bool
	w.Object.Metadata, dropped, pending = w.passed()
	w.Pending = w.Pending || pending && w.PassThrough
	if w.PassThrough && !pending {
		for _, key := range dropped {
			w.Warnings = append(w.Warnings, fmt.Sprintf("%s: not sent, variable %s has no value", key, w.Metadata[key]))
		}
	}
	w.target.FieldByIndex(p.object).Set(reflect.ValueOf(*w.Object))
}

// embedIdentity fills in the embedded PodIdentity.
func (w *filling) embedIdentity(p *Plan) {
	switch {
	case p.identity == nil:
	case w.Identity == nil:
		w.Pending = w.Pending || w.AuthPending
	default:
		w.target.FieldByIndex(p.identity).Set(reflect.ValueOf(*w.Identity))
	}
}

// lending refuses the family's own identity to a namespace that may not use it,
// where a parameter asks for it.
func (w *filling) lending(p *Plan) {
	for _, g := range p.groups {
		borrower, ok := g.of(w.target).(interface{ OwnIdentity() string })
		if !ok {
			continue
		}
		if parameter := borrower.OwnIdentity(); parameter != "" {
			if err := lending.CheckNamespace(w.Object.Namespace); err != nil {
				w.Problems.Add(parameter, errors.New(status.Convert(err).Message()))
			}
			return // groups that embed this one have the same method
		}
	}
}

// TargetKey is the parameter that sets the target, or "" when several do.
func (p *Plan) TargetKey() string {
	key := ""
	for _, f := range p.fields {
		if f.role != scalerv1.ParameterRole_PARAMETER_ROLE_TARGET {
			continue
		}
		if key != "" {
			return ""
		}
		key = f.name
	}
	return key
}

// Thresholds are the values of the parameters with the roles target and
// activation, each 0 without one.
func (p *Plan) Thresholds(params reflect.Value) (target, activation float64) {
	for _, f := range p.fields {
		switch f.role {
		case scalerv1.ParameterRole_PARAMETER_ROLE_TARGET:
			target = number(params.FieldByIndex(f.index))
		case scalerv1.ParameterRole_PARAMETER_ROLE_ACTIVATION:
			activation = number(params.FieldByIndex(f.index))
		case scalerv1.ParameterRole_PARAMETER_ROLE_UNSPECIFIED:
		}
	}
	return target, activation
}

// number is the value of a parameter that is a number, 0 for one that is absent.
func number(v reflect.Value) float64 {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return 0
	case v.Kind() == reflect.Pointer:
		return number(v.Elem())
	case v.CanInt():
		return float64(v.Int())
	default:
		return v.Float()
	}
}

// Missing says which parameters a params struct lacks that are required without
// another. It is for a Validate by whose rules that other does not count.
func Missing(params any) error {
	v := reflect.ValueOf(params)
	return Of(v.Type()).missing(v)
}

func (p *Plan) missing(params reflect.Value) error {
	var problems []error
	for _, f := range p.fields {
		if f.without == "" || !params.FieldByIndex(f.index).IsZero() {
			continue
		}
		if other := p.named(f.without); params.FieldByIndex(other.index).IsZero() {
			problems = append(problems, fmt.Errorf("%s: is required without %s", f.name, other.name))
		}
	}
	return errors.Join(problems...)
}

// validate calls the rules of the params struct and of the groups in it.
func (p *Plan) validate(params reflect.Value) error {
	problems := []error{p.missing(params)}
	for _, g := range p.groups {
		if rules, ok := g.of(params).(interface{ Validate() error }); ok {
			problems = append(problems, rules.Validate())
		}
	}
	return errors.Join(problems...)
}

// of returns a pointer to the group within params. It is made anew, because
// reflection keeps hands off the methods of unexported embedded structs.
func (g group) of(params reflect.Value) any {
	return reflect.NewAt(g.typ, params.FieldByIndex(g.index).Addr().UnsafePointer()).Interface()
}
