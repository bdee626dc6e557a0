package scaler

import (
	"reflect"
	"strings"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// documented is implemented by params structs and their groups in the file
// that cmd/docgen writes from their doc comments: what each field means by its
// Go name, and what a trigger type scales on by the type's text.
type documented interface{ ParamDocs() map[string]string }

// describe derives the description of a trigger type from its params struct.
func (p *plan) describe(triggerType string, t traits) *scalerv1.TriggerType {
	described := &scalerv1.TriggerType{
		Type:                   triggerType,
		Detection:              t.detection,
		DetectionCost:          t.detectionCost,
		AcceptsOtherParameters: t.passThrough,
	}
	docs := map[reflect.Type]map[string]string{}
	for _, g := range p.groups {
		if d, ok := reflect.New(g.typ).Interface().(documented); ok {
			docs[g.typ] = d.ParamDocs()
		}
		if purpose := docs[g.typ][triggerType]; purpose != "" {
			described.Purpose = purpose
		}
	}
	for _, f := range p.fields {
		described.Parameters = append(described.Parameters, f.describe(docs[f.group][f.goName]))
	}
	return described
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
		Description:   meaning,
		Question:      f.question,
		Deprecated:    strings.TrimPrefix(f.deprecated+f.removal(), ", "),
		Role:          f.role,
	}
}

func (f *field) removal() string {
	if f.removed == "" {
		return ""
	}
	return ", removed: " + f.removed
}

// describeFamily is the answer to Describe.
func describeFamily(family, version string, triggers []Trigger) *scalerv1.DescribeResponse {
	described := &scalerv1.DescribeResponse{Family: family, Version: version}
	for _, t := range triggers {
		described.TriggerTypes = append(described.TriggerTypes, t.description)
	}
	return described
}

// describeJSON is the answer to Describe as the flag --describe prints it.
func describeJSON(family, version string, triggers []Trigger) ([]byte, error) {
	return protojson.MarshalOptions{Multiline: true}.Marshal(describeFamily(family, version, triggers))
}
