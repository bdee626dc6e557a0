package objects

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsjson "sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"
)

// What one document may be. Manifests come from whoever wrote them, and a small
// text can stand for a very large one.
const (
	// mostOfDocument is what a document may have once its aliases stand for
	// what they mean, in bytes: as much as a file.
	mostOfDocument = mostOfFile
	// mostNodes is how many values that may be.
	mostNodes = 2_000_000
	// deepest is how deep they may be nested.
	deepest = 100
)

// toJSON returns a document of YAML or JSON as JSON, nil for one that says
// nothing.
func toJSON(document []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(document, &root); err != nil {
		return nil, err
	}
	if root.Kind == 0 {
		return nil, nil
	}
	m := measure{sizes: map[*yaml.Node]size{}}
	if s, err := m.of(&root, 0); err != nil {
		return nil, err
	} else if s.bytes > mostOfDocument || s.nodes > mostNodes {
		return nil, fmt.Errorf("is larger than the %d bytes and %d values that a document may have", mostOfDocument, mostNodes)
	}
	text, err := sigsyaml.YAMLToJSONStrict(document)
	if err != nil || string(text) == "null" {
		return nil, err
	}
	return text, nil
}

// size is what a node comes to.
type size struct{ bytes, nodes int }

// measure finds out what nodes come to without writing them out.
type measure struct {
	sizes map[*yaml.Node]size
	in    []*yaml.Node // the way to the node that is looked at
}

func (m *measure) of(n *yaml.Node, depth int) (size, error) {
	if s, done := m.sizes[n]; done {
		return s, nil
	}
	if depth > deepest {
		return size{}, fmt.Errorf("is nested more than %d deep", deepest)
	}
	for _, above := range m.in {
		if above == n {
			return size{}, errors.New("has an alias for what it is a part of")
		}
	}
	m.in = append(m.in, n)
	defer func() { m.in = m.in[:len(m.in)-1] }()
	s := size{bytes: len(n.Value) + 3, nodes: 1}
	parts := n.Content
	if n.Alias != nil {
		parts = []*yaml.Node{n.Alias}
	}
	for _, part := range parts {
		p, err := m.of(part, depth+1)
		if err != nil {
			return size{}, err
		}
		s.bytes = min(s.bytes+p.bytes, mostOfDocument+1)
		s.nodes = min(s.nodes+p.nodes, mostNodes+1)
	}
	m.sizes[n] = s
	return s, nil
}

// head is what every object has.
type head struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

// list reports whether it stands for others.
func (h head) list() bool {
	return strings.HasSuffix(h.Kind, "List") && (h.APIVersion == "v1" || h.Items != nil)
}

// decode fills an object. unknown are the fields that it does not have: an API
// server drops them.
func decode(text []byte, into any) (unknown []string, err error) {
	text, err = withoutStatus(text)
	if err != nil {
		return nil, err
	}
	strict, err := sigsjson.UnmarshalStrict(text, into)
	for _, problem := range strict {
		field, is := strings.CutPrefix(problem.Error(), "unknown field ")
		if is {
			unknown = append(unknown, strings.Trim(field, `"`))
		}
	}
	return unknown, err
}

// withoutStatus takes away what the API server and controllers wrote.
func withoutStatus(text []byte) ([]byte, error) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, err
	}
	delete(parts, "status")
	return json.Marshal(parts)
}
