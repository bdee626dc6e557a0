package params

import (
	"cmp"
	"reflect"
	"strings"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// documented is implemented by params structs and their groups in the file
// that cmd/docgen writes from their doc comments: what each field means by its
// Go name, and what a trigger type scales on by the type's text.
type documented interface{ ParamDocs() map[string]string }

// Purpose is what the trigger type of that name scales on.
func (p *Plan) Purpose(triggerType string) string {
	purpose := ""
	for _, g := range p.groups {
		purpose = cmp.Or(g.docs()[triggerType], purpose)
	}
	return purpose
}

// Parameters describes every parameter.
func (p *Plan) Parameters() []*scalerv1.Parameter {
	docs := map[reflect.Type]map[string]string{}
	for _, g := range p.groups {
		docs[g.typ] = g.docs()
	}
	described := make([]*scalerv1.Parameter, len(p.fields))
	for i, f := range p.fields {
		described[i] = f.describe(docs[f.group][f.goName])
	}
	return described
}

// docs is what the group says of itself.
func (g group) docs() map[string]string {
	if d, ok := reflect.New(g.typ).Interface().(documented); ok {
		return d.ParamDocs()
	}
	return nil
}

func (f *field) describe(meaning string) *scalerv1.Parameter {
	return &scalerv1.Parameter{
		Name:          f.name,
		Aliases:       f.aliases,
		Type:          f.value.kind,
		Unit:          f.unit,
		Required:      f.required,
		DefaultValue:  f.def,
		AllowedValues: f.enum,
		Sources:       f.sources,
		Description:   strings.TrimPrefix(meaning+f.condition(), " "),
		Question:      f.question,
		Deprecated:    strings.TrimPrefix(f.deprecated+f.removal(), ", "),
		Role:          f.role,
	}
}

// condition says when a parameter is required that is not always.
func (f *field) condition() string {
	if f.without == "" {
		return ""
	}
	return " Required without " + f.without + "."
}

func (f *field) removal() string {
	if f.removed == "" {
		return ""
	}
	return ", removed: " + f.removed
}
