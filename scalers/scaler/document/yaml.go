package document

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlText is YAML as the parser found it. Aliases and merges are followed where
// a place leads through them and never written out, and nothing but the value
// that is looked for is decoded: so a document is no larger than its text.
type yamlText struct{ root yaml.Node }

// mostDirectives is how many lines of a text may begin with a %: the parser holds
// each directive against all before it, between two turns.
const mostDirectives = 100

// directives is how many lines begin with a %, whatever ends a line in YAML, of
// Unicode or a text of two bytes a character, too: rather too many than too few.
func directives(text []byte) (n int) {
	for i, c := range text {
		if c == '%' && (i == 0 || strings.IndexByte("\n\r\x85\xa8\xa9\x00", text[i-1]) >= 0) {
			n++
		}
	}
	return n
}

func parseYAML(text *pieces) (Document, error) {
	if directives(text.text) > mostDirectives {
		return nil, notA("YAML")
	}
	// The parser itself refuses what nests deeper than 10,000.
	var y yamlText
	if err := yaml.NewDecoder(text).Decode(&y.root); err != nil && !errors.Is(err, io.EOF) {
		return nil, notA("YAML")
	}
	return &y, nil
}

// Find implements Document.
func (y *yamlText) Find(ctx context.Context, place Place) (Value, error) {
	search := yamlSearch{begin(ctx)}
	defer search.end()
	if !search.check() {
		return Value{}, search.err
	}
	path := place.text
	at := &y.root
	if at.Kind == yaml.DocumentNode {
		at = at.Content[0]
	}
	for key := range strings.SplitSeq(path, ".") {
		at = aliased(at)
		if at.Kind == yaml.ScalarNode || at.IsZero() {
			break
		}
		next, err := search.child(at, key)
		if search.err != nil {
			return Value{}, search.err
		}
		if err != nil {
			return Value{}, wrong(path, err.Error())
		}
		if next == nil {
			return Value{}, missing(path)
		}
		at = next
	}
	return scalarOf(aliased(at), path)
}

// yamlSearch follows one path. Aliases can lead it through the same maps again
// and again, so that the keys that it looks at are counted.
type yamlSearch struct{ *work }

const mostMerges = 100

var (
	errTwice  = errors.New("is in a map that has a key twice")
	errMerges = errors.New("is behind too many merges within merges")
)

// aliased is what an alias stands for. The parser lets none stand for itself.
func aliased(at *yaml.Node) *yaml.Node {
	for at.Kind == yaml.AliasNode {
		at = at.Alias
	}
	return at
}

// child is what a list has at a position or a map at a key, nil for nothing.
func (s *yamlSearch) child(at *yaml.Node, key string) (*yaml.Node, error) {
	if at.Kind == yaml.MappingNode {
		return s.member(at, key, 0)
	}
	i, err := strconv.Atoi(key)
	if err != nil || i < 0 || i >= len(at.Content) {
		return nil, nil //nolint:nilnil,nilerr // nothing stands there
	}
	return at.Content[i], nil
}

// member is the value of a map's own key, else that of the maps that it merges.
// depth is of merges in what is merged.
func (s *yamlSearch) member(m *yaml.Node, key string, depth int) (found *yaml.Node, err error) {
	if !s.look(weightOfKey) || depth > mostMerges {
		return nil, errMerges
	}
	var merges []*yaml.Node
	for i := 0; i+1 < len(m.Content); i += 2 {
		name, value := aliased(m.Content[i]), m.Content[i+1]
		if !s.look(weightOf(name)) {
			return nil, errMerges
		}
		switch {
		case name.ShortTag() == "!!merge":
			merges = append(merges, merged(value)...)
		case textOfKey(name) != key:
		case found != nil:
			return nil, errTwice
		default:
			found = value
		}
	}
	s.look(weightOfKey * len(merges))
	for i := 0; i < len(merges) && found == nil && err == nil; i++ {
		found, err = s.member(merges[i], key, depth+1)
	}
	return found, err
}

// merged are the maps that a merge names: one, or those of a list.
func merged(from *yaml.Node) (maps []*yaml.Node) {
	from = aliased(from)
	candidates := []*yaml.Node{from}
	if from.Kind == yaml.SequenceNode {
		candidates = from.Content
	}
	for _, candidate := range candidates {
		if candidate = aliased(candidate); candidate.Kind == yaml.MappingNode {
			maps = append(maps, candidate)
		}
	}
	return maps
}

// weightOf is what it costs to compare a key: what is no text is decoded each time.
func weightOf(name *yaml.Node) int {
	if isText(name) || len(name.Value) > longestPlace {
		return weightOfKey
	}
	return weightOfDecoded + weightOfEscape*len(name.Value)
}

func isText(name *yaml.Node) bool { return name.Kind != yaml.ScalarNode || name.ShortTag() == "!!str" }

// textOfKey is a key as a path writes it: what is no text by its value, unless it
// is longer than a path.
func textOfKey(name *yaml.Node) string {
	if isText(name) || len(name.Value) > longestPlace {
		return name.Value
	}
	var value any
	if name.Decode(&value) != nil {
		return name.Value
	}
	return fmt.Sprint(value)
}

// scalarOf is the value that stands at a node.
func scalarOf(at *yaml.Node, path string) (Value, error) {
	switch at.Kind {
	case yaml.SequenceNode:
		return Value{}, wrong(path, "is a list")
	case yaml.MappingNode:
		return Value{}, wrong(path, "is a map")
	default: // a scalar, or nothing
	}
	if len(at.Value) > longestPlace { // no number, and not to be held against what numbers look like
		return Value{path: path, Text: at.Value, IsText: true}, nil
	}
	var value any
	if !at.IsZero() && at.Decode(&value) != nil {
		return Value{}, wrong(path, "is not what its tag says")
	}
	return scalar(value, path)
}
