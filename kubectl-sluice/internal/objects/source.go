package objects

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is one of a file.
type document struct {
	file string
	// number is its place in the file, 0 for a file of JSON, which is one.
	number int
	// first is the line that it begins in, and text all of it.
	first int
	text  []byte
}

// Source is where something was read. The zero value is no file.
type Source struct {
	document *document
	items    []int // of lists in lists
}

// File is the file's name, "" for none.
func (s Source) File() string {
	if s.document == nil {
		return ""
	}
	return s.document.file
}

// String is the place as a user looks for it.
func (s Source) String() string {
	if s.document == nil {
		return ""
	}
	text := s.document.file
	if s.document.number > 0 {
		text += fmt.Sprintf(", document %d", s.document.number)
	}
	for _, i := range s.items {
		text += fmt.Sprintf(", item %d", i)
	}
	return text
}

// item is one of the list that is there.
func (s Source) item(i int) Source {
	if s.document == nil {
		return s
	}
	return Source{s.document, append(slices.Clone(s.items), i)}
}

// Compare has sources in the order in which they are read.
func (s Source) Compare(other Source) int {
	switch {
	case s.document == nil || other.document == nil:
		return strings.Compare(s.File(), other.File())
	case s.document.file != other.document.file:
		return strings.Compare(s.document.file, other.document.file)
	case s.document.first != other.document.first:
		return s.document.first - other.document.first
	}
	return slices.Compare(s.items, other.items)
}

// Lines finds out in which lines of its file something is. It keeps what it read
// last: whoever asks in the order of Compare has each document read once.
type Lines struct {
	of   *document
	root *yaml.Node
}

// Find returns the line of a field, by its keys and the numbers of elements, or
// of what is nearest above it, and whether all of the path is there. 0 is
// somewhere in no file.
func (l *Lines) Find(s Source, path ...string) (line int, whole bool) {
	if s.document == nil {
		return 0, false
	}
	if l.of != s.document {
		var root yaml.Node
		l.of, l.root = s.document, nil
		if yaml.Unmarshal(s.document.text, &root) == nil && len(root.Content) == 1 {
			l.root = root.Content[0]
		}
	}
	if l.root == nil {
		return s.document.first, false
	}
	all := make([]string, 0, 2*len(s.items)+len(path))
	for _, i := range s.items {
		all = append(all, "items", strconv.Itoa(i))
	}
	at, line := l.root, l.root.Line
	for _, key := range append(all, path...) {
		next, where := child(at, key)
		if next == nil {
			return s.document.first + line - 1, false
		}
		at, line = next, where
	}
	return s.document.first + line - 1, true
}

// child is what a key or a number leads to, and the line in which that is written.
func child(at *yaml.Node, key string) (value *yaml.Node, line int) {
	if at.Kind == yaml.AliasNode {
		at = at.Alias
	}
	switch at.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(at.Content); i += 2 {
			if at.Content[i].Value == key {
				return at.Content[i+1], at.Content[i].Line
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(at.Content) {
			return at.Content[i], at.Content[i].Line
		}
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return nil, 0
}

var (
	// ofParser is how parsers of YAML and JSON say where.
	ofParser = regexp.MustCompile(`\bline ([0-9]+)`)
	ofField  = regexp.MustCompile(`Go struct field [A-Za-z]+\.([A-Za-z.]+) `)
)

// Line is the line of what could not be read.
func (u Unread) Line(l *Lines) int {
	if parts := ofField.FindStringSubmatch(u.Problem); parts != nil {
		line, _ := l.Find(u.Source, strings.Split(parts[1], ".")...)
		return line
	}
	line, _ := l.Find(u.Source)
	if parts := ofParser.FindStringSubmatch(u.Problem); parts != nil && u.Source.document != nil && u.Key.Kind == "" {
		if n, err := strconv.Atoi(parts[1]); err == nil && n > 0 {
			return u.Source.document.first + n - 1
		}
	}
	return line
}

// Ours reports whether what could not be read is of a kind that is judged, as far
// as that can be told: folders have files of all kinds.
func (u Unread) Ours() bool {
	if u.Key.Kind != "" {
		return slices.ContainsFunc(judged, func(k kind) bool { return k.kind == u.Key.Kind })
	}
	return u.Source.document == nil || bytes.Contains(u.Source.document.text, []byte("keda.sh/"))
}

// Path takes the name of a field apart: spec.triggers[0].metadata.
func Path(field string) []string {
	return strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}
