package chart

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/sluice-autoscaler/sluice/deploy/families"
)

//go:embed keys.yaml
var keysFile []byte

// Class is what becomes of a value.
type Class string

const (
	same     Class = "same"
	handed   Class = "families"
	noEffect Class = "nothing"
	sluice   Class = "sluice"
)

// Key is one value of the chart.
type Key struct {
	// Path is where it is, with dots between. A * is the name of a family.
	Path  string `json:"key"`
	Class Class  `json:"class"`
	// Type is a name of types, or several with | between.
	Type    string           `json:"type"`
	Enum    []any            `json:"enum,omitempty"`
	Minimum *int             `json:"minimum,omitempty"`
	Default *json.RawMessage `json:"default,omitempty"`
	About   string           `json:"about"`
}

// Group are keys that are documented together.
type Group struct {
	Title string `json:"title"`
	About string `json:"about,omitempty"`
	Keys  []Key  `json:"keys"`
}

type table struct {
	Flags  map[string][]string `json:"flags"`
	Groups []Group             `json:"groups"`
}

// Keys are all values of the chart.
func Keys() ([]Key, error) {
	t, err := readTable()
	if err != nil {
		return nil, err
	}
	var all []Key
	for _, group := range t.Groups {
		all = append(all, group.Keys...)
	}
	return all, nil
}

func readTable() (*table, error) {
	t := &table{}
	if err := yaml.UnmarshalStrict(keysFile, t); err != nil {
		return nil, fmt.Errorf("keys.yaml: %w", err)
	}
	var errs []error
	seen := map[string]bool{}
	for _, group := range t.Groups {
		for _, key := range group.Keys {
			if _, err := key.schema(); err != nil {
				errs = append(errs, err)
			}
			switch key.Class {
			case same, handed, noEffect, sluice:
			default:
				errs = append(errs, fmt.Errorf("%s: class %q", key.Path, key.Class))
			}
			if seen[key.Path] || key.About == "" {
				errs = append(errs, fmt.Errorf("%s: listed twice, or nothing said about it", key.Path))
			}
			if key.Class == noEffect && key.Default == nil {
				errs = append(errs, fmt.Errorf("%s: KEDA's default is missing", key.Path))
			}
			seen[key.Path] = true
		}
	}
	return t, errors.Join(errs...)
}

// node is a piece of a JSON schema.
type node = map[string]any

func closed(properties node) node {
	return node{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
}

// types are those that keys.yaml names. All of them may be null, which is not
// given: so some of KEDA's defaults are, which --reuse-values brings.
func types(name string) (node, bool) {
	text := node{"type": []string{"string", "null"}}
	list := node{"type": "array", "items": node{"type": []string{"object", "string"}}}
	labels := node{"type": "object", "additionalProperties": node{"type": "string"}}
	boolean := node{"type": []string{"boolean", "null"}}
	switch name {
	case "string", "integer", "boolean", "object":
		return node{"type": name}, true
	case "list":
		return list, true
	case "strings":
		return node{"type": "array", "items": node{"type": "string"}}, true
	case "map":
		return node{"type": "object", "additionalProperties": node{"type": []string{"string", "number", "boolean"}}}, true
	case "monitor":
		return closed(node{
			"enabled": boolean, "namespace": text, "interval": text, "scrapeTimeout": text, "additionalLabels": labels,
			"relabelings": list, "relabellings": list, "metricRelabelings": list, "jobLabel": text, "targetLabels": list,
			"podTargetLabels": list, "port": text, "targetPort": node{"type": []string{"string", "integer", "null"}}, "scheme": text,
			"tlsConfig": node{"type": []string{"object", "null"}},
		}), true
	case "rules":
		return closed(node{"enabled": boolean, "namespace": text, "additionalLabels": labels, "alerts": list}), true
	}
	return nil, false
}

func (k Key) schema() (node, error) {
	schema, all := node{}, []string{}
	for name := range strings.SplitSeq(k.Type, "|") {
		one, is := types(name)
		if !is {
			return nil, fmt.Errorf("%s: type %q", k.Path, name)
		}
		for property, value := range one {
			schema[property] = value
		}
		if kind, is := one["type"].(string); is {
			all = append(all, kind)
		} else {
			all = append(all, "object")
		}
	}
	schema["type"] = append(all, "null")
	schema["description"] = k.About
	if k.Enum != nil {
		schema["enum"] = append(append([]any{}, k.Enum...), nil)
	}
	if k.Minimum != nil {
		schema["minimum"] = *k.Minimum
	}
	if k.Default != nil && k.Class != noEffect {
		schema["default"] = k.Default
	}
	return schema, nil
}

// schema of values.yaml: a key that is not here is refused.
func (t *table) schema(list []families.Family) ([]byte, error) {
	root, family := closed(node{}), closed(node{})
	root["type"] = "object"
	for _, group := range t.Groups {
		for _, key := range group.Keys {
			schema, err := key.schema()
			if err != nil {
				return nil, err
			}
			if own, is := strings.CutPrefix(key.Path, "families.*."); is {
				put(family, strings.Split(own, "."), schema)
			} else {
				put(root, strings.Split(key.Path, "."), schema)
			}
		}
	}
	for _, f := range list {
		put(root, []string{"families", f.Name}, node{"$ref": "#/definitions/family", "description": "The family of " + strings.Join(f.Types, ", ") + "."})
	}
	// Whole Pod security contexts stand beside those of one component.
	for _, name := range []string{"securityContext", "podSecurityContext"} {
		root["properties"].(node)[name].(node)["additionalProperties"] = true
	}
	// Charts that have this one as a part share values of theirs.
	put(root, []string{"global"}, node{"additionalProperties": true})
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "Values of the chart sluice"
	root["definitions"] = node{"family": family}
	text, err := json.MarshalIndent(root, "", "  ")
	return append(text, '\n'), err
}

// put sets what a path of a schema says, beside what is there.
func put(schema node, path []string, value node) {
	for i, name := range path {
		properties := schema["properties"].(node)
		switch {
		case properties[name] != nil:
		case i == len(path)-1:
			properties[name] = node{}
		default:
			properties[name] = closed(node{})
		}
		schema = properties[name].(node)
	}
	for property, v := range value {
		schema[property] = v
	}
}

// values are the defaults, each said to what it is good for.
func (t *table) values([]families.Family) ([]byte, error) {
	root := &branch{}
	for _, group := range t.Groups {
		for i, key := range group.Keys {
			if key.Class != noEffect {
				root.add(strings.Split(strings.ReplaceAll(key.Path, "*", "kafka"), "."), &group.Keys[i])
			}
		}
	}
	text := bytes.NewBufferString(header + `
# What is commented out is not given: the manifests of the chart count. Keys of
# KEDA's chart that do nothing here are accepted and not listed; docs/helm.md has
# all keys in tables.
`)
	for _, top := range root.children {
		text.WriteString("\n")
		top.print(text, "", !top.given())
	}
	return text.Bytes(), nil
}

// branch is a part of values.yaml.
type branch struct {
	name     string
	key      *Key
	children []*branch
}

func (b *branch) add(path []string, key *Key) {
	if len(path) == 0 {
		b.key = key
		return
	}
	for _, child := range b.children {
		if child.name == path[0] {
			child.add(path[1:], key)
			return
		}
	}
	child := &branch{name: path[0]}
	b.children = append(b.children, child)
	child.add(path[1:], key)
}

// given is whether any key has a default.
func (b *branch) given() bool {
	return b.key != nil && b.key.Default != nil || slices.ContainsFunc(b.children, (*branch).given)
}

func (b *branch) print(text *bytes.Buffer, margin string, out bool) {
	mark := ""
	if out || !b.given() {
		out, mark = true, "# "
	}
	if b.key == nil {
		fmt.Fprintf(text, "%s%s%s:\n", margin, mark, b.name)
		for _, child := range b.children {
			child.print(text, margin+"  ", out)
		}
		return
	}
	fmt.Fprintf(text, "%s# %s\n%s%s%s:", margin, b.key.About, margin, mark, b.name)
	if b.key.Default != nil {
		fmt.Fprintf(text, " %s", *b.key.Default)
	}
	text.WriteString("\n")
}

// nothing lists keys without effect for the notes, with the value that KEDA
// gives them by itself.
func (t *table) nothing([]families.Family) ([]byte, error) {
	type entry struct {
		Key     string           `json:"key"`
		Default *json.RawMessage `json:"default"`
	}
	var all []entry
	for _, group := range t.Groups {
		for _, key := range group.Keys {
			if key.Class == noEffect {
				all = append(all, entry{key.Path, key.Default})
			}
		}
	}
	text, err := yaml.Marshal(all)
	return append([]byte(header), text...), err
}

func (t *table) flags([]families.Family) ([]byte, error) {
	text, err := yaml.Marshal(t.Flags)
	return append([]byte(header), text...), err
}

// mark is where the tables of the document begin; what stands before is written
// by hand.
const mark = "<!-- The rest is generated by deploy/generate from deploy/chart/keys.yaml; DO NOT EDIT. -->\n"

var classes = map[Class]string{
	same: "as KEDA's", handed: "KEDA's, handed to the families", noEffect: "KEDA's, does nothing", sluice: "Sluice's",
}

func (t *table) document(file string, _ []families.Family) ([]byte, error) {
	before, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	head, _, found := bytes.Cut(before, []byte(mark))
	if !found {
		return nil, fmt.Errorf("no line %q", strings.TrimSpace(mark))
	}
	text := bytes.NewBuffer(append(bytes.Clone(head), mark...))
	for _, group := range t.Groups {
		fmt.Fprintf(text, "\n### %s\n\n", group.Title)
		if group.About != "" {
			fmt.Fprintf(text, "%s\n\n", group.About)
		}
		text.WriteString("| key | type | default | what it is | whose |\n|---|---|---|---|---|\n")
		for _, key := range group.Keys {
			value := ""
			if key.Default != nil && key.Class != noEffect {
				value = "`" + string(*key.Default) + "`"
			}
			kind := strings.ReplaceAll(key.Type, "|", " or ")
			if key.Enum != nil {
				var options []string
				for _, option := range key.Enum {
					options = append(options, fmt.Sprint(option))
				}
				kind = strings.Join(options, ", ")
			}
			fmt.Fprintf(text, "| `%s` | %s | %s | %s | %s |\n", strings.ReplaceAll(key.Path, "*", "<name>"), kind, value, key.About, classes[key.Class])
		}
	}
	return text.Bytes(), nil
}
