package scalerv1

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// EnvVar is one environment variable of a scale target: a literal, or where
// its value is kept. Exactly one field is set.
type EnvVar struct {
	// Value is a literal. "$(NAME)" in it stands for another variable of the
	// same map and "$$" for "$", as in a Pod; a variable that has no value
	// leaves it as it is. Whoever builds the map includes what a literal refers
	// to, and escapes what is not a reference.
	Value *string `json:"value,omitempty"`
	// SecretKeyRef names a key of a Secret in the object's namespace.
	SecretKeyRef *KeyRef `json:"secretKeyRef,omitempty"`
	// ConfigMapKeyRef names a key of a ConfigMap in the object's namespace.
	ConfigMapKeyRef *KeyRef `json:"configMapKeyRef,omitempty"`
	// EnvFrom are the objects whose keys are variables, the one that counts
	// most first. The value is that of the first which has the key. Each is a
	// SecretKeyRef or a ConfigMapKeyRef; Optional is about the object, since a
	// key may always be absent.
	EnvFrom []EnvVar `json:"envFrom,omitempty"`
}

// KeyRef names one key of a Secret or ConfigMap.
type KeyRef struct {
	// Name is the object's.
	Name string `json:"name"`
	// Key is the entry in its data.
	Key string `json:"key"`
	// Optional is true when the Pod starts without it.
	Optional bool `json:"optional,omitempty"`
}

// EncodeEnv returns the value of KeyEnv: a JSON object, the same text for the
// same variables.
func EncodeEnv(env map[string]EnvVar) (string, error) {
	for name, v := range env {
		if err := v.check(name); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(env)
	return string(text), err
}

// DecodeEnv reads what EncodeEnv wrote; an empty text has no variables. Its
// errors quote no value.
func DecodeEnv(text string) (map[string]EnvVar, error) {
	if text == "" {
		return nil, nil
	}
	if err := externalscaler.Values(text); err != nil {
		return nil, fmt.Errorf("%s: %w", KeyEnv, err)
	}
	var env map[string]EnvVar
	if err := json.Unmarshal([]byte(text), &env); err != nil {
		return nil, fmt.Errorf("%s: is not a JSON object of variables", KeyEnv)
	}
	for name, v := range env {
		if err := v.check(name); err != nil {
			return nil, err
		}
	}
	return env, nil
}

func (v EnvVar) check(name string) error {
	set := 0
	for _, given := range []bool{v.Value != nil, v.SecretKeyRef != nil, v.ConfigMapKeyRef != nil, len(v.EnvFrom) > 0} {
		if given {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("%s: variable %s needs exactly one of value, secretKeyRef, configMapKeyRef, envFrom", KeyEnv, short(name))
	}
	for _, from := range v.EnvFrom {
		if from.Value != nil || len(from.EnvFrom) > 0 || (from.SecretKeyRef == nil) == (from.ConfigMapKeyRef == nil) {
			return fmt.Errorf("%s: variable %s: each of envFrom needs one of secretKeyRef, configMapKeyRef", KeyEnv, short(name))
		}
	}
	return nil
}

// Finding is what became of a reference.
type Finding int

const (
	// Pending: nobody has looked yet. What it is part of has no value yet.
	Pending Finding = iota
	// Absent: there is no value.
	Absent
	// Found: there is one.
	Found
)

// ResolveEnv returns the values of those variables in env that names has, with
// literals expanded. read is asked once for each reference that is needed. A
// variable without a value is left out.
//
// The error names some of the variables that refer to themselves in a circle,
// refer too deep or are too long; all others have their values nevertheless.
func ResolveEnv(env map[string]EnvVar, names []string, read func(name string, v EnvVar) (string, Finding)) (map[string]string, error) {
	r := resolution{env: env, read: read, done: make(map[string]resolved, len(names)), at: map[string]int{}, room: mostExpanded}
	values := make(map[string]string, len(names))
	for _, name := range names {
		if v := r.value(name); v.finding == Found {
			values[name] = v.text
		}
	}
	return values, r.wrong.err()
}

// LiteralEnv returns the values that are known without reading any object.
func LiteralEnv(env map[string]EnvVar) map[string]string {
	values, _ := ResolveEnv(env, slices.Sorted(maps.Keys(env)), func(string, EnvVar) (string, Finding) { return "", Pending })
	return values // one that goes in a circle or is too long has none
}

// Variables may refer to each other in any way, and a few that refer to each
// other twice must not take the memory of everybody.
const (
	// longestVariable is what Linux lets a variable be, in bytes. No container
	// starts with a longer one.
	longestVariable = 128 << 10
	// mostExpanded bounds what the literals with references of one environment
	// come to, in bytes.
	mostExpanded = 512 << 10
	// deepest is how many variables may refer to each other in a row.
	deepest = 1000
)

// resolution is one run of ResolveEnv.
type resolution struct {
	env   map[string]EnvVar
	read  func(string, EnvVar) (string, Finding)
	done  map[string]resolved
	path  []string       // of variables that are being expanded
	at    map[string]int // where in path each of them is
	room  int            // bytes that literals may still expand to
	wrong complaints
}

// resolved is what one variable came to.
type resolved struct {
	text    string
	finding Finding
}

func (r *resolution) value(name string) resolved {
	if known, ok := r.done[name]; ok {
		return known
	}
	v, ok := r.env[name]
	if !ok {
		return resolved{finding: Absent}
	}
	if at, ok := r.at[name]; ok {
		r.wrong.add(name, "refers to itself: "+circle(r.path[at:]))
		return resolved{}
	}
	if len(r.path) == deepest {
		r.wrong.add(r.path[0], fmt.Sprintf("refers to others more than %d deep", deepest))
		return resolved{} // not done: it may have a value by itself
	}
	var result resolved
	if v.Value != nil {
		r.at[name] = len(r.path)
		r.path = append(r.path, name)
		result = r.expand(name, *v.Value)
		r.path = r.path[:len(r.path)-1]
		delete(r.at, name)
	} else {
		result.text, result.finding = r.read(name, v)
	}
	r.done[name] = result
	return result
}

// expand replaces references in the literal of a variable. One that is too long
// has no value, and neither has what refers to it.
func (r *resolution) expand(name, literal string) resolved {
	if len(literal) > longestVariable {
		r.wrong.add(name, fmt.Sprintf("is longer than the %d bytes that one may have", longestVariable))
		return resolved{}
	}
	if !strings.Contains(literal, "$") {
		return resolved{text: literal, finding: Found}
	}
	var out strings.Builder
	finding := Found
	write := func(text string) {
		if finding == Pending {
			return
		}
		if why := r.tooLong(out.Len()+len(text), len(text)); why != "" {
			r.wrong.add(name, why)
			finding = Pending
			return
		}
		r.room -= len(text)
		out.WriteString(text)
	}
	ExpandEnv(literal, write, func(name string) {
		switch v := r.value(name); v.finding {
		case Found:
			write(v.text)
		case Absent:
			write("$(" + name + ")")
		case Pending:
			finding = Pending
		}
	})
	if finding == Pending {
		return resolved{}
	}
	return resolved{text: out.String(), finding: Found}
}

// tooLong says why a variable cannot have as many bytes, by one more part.
func (r *resolution) tooLong(all, part int) string {
	switch {
	case all > longestVariable:
		return fmt.Sprintf("is longer than the %d bytes that one may have", longestVariable)
	case part > r.room:
		return fmt.Sprintf("and others expand to more than the %d bytes that they may have together", mostExpanded)
	}
	return ""
}

// circle shows variables that refer to each other, the first few of them.
func circle(path []string) string {
	const most = 8
	var out strings.Builder
	for i, name := range path {
		if i == most-1 && len(path) > most {
			fmt.Fprintf(&out, "... (%d more) -> ", len(path)-i)
			break
		}
		out.WriteString(short(name) + " -> ")
	}
	return out.String() + short(path[0])
}

// short is a name as far as an error tells it.
func short(name string) string { return fmt.Sprintf("%.64s", name) }

// complaints are what is wrong with variables: of each one thing, and of the
// first few alone. Whoever shapes variables does not shape how much is said of
// them.
type complaints struct {
	of   map[string]bool
	errs []error
}

const mostComplaints = 8

func (c *complaints) add(name, what string) {
	if c.of[name] {
		return
	}
	if c.of == nil {
		c.of = map[string]bool{}
	}
	c.of[name] = true
	if len(c.errs) < mostComplaints {
		c.errs = append(c.errs, fmt.Errorf("variable %s %s", short(name), what))
	}
}

func (c *complaints) err() error {
	if more := len(c.of) - len(c.errs); more > 0 {
		return errors.Join(append(c.errs, fmt.Errorf("%d more variables have no value either", more))...)
	}
	return errors.Join(c.errs...)
}

// ExpandEnv takes a literal apart as a Pod's is: text is called with what
// stands for itself, "$$" being "$", and reference with the names in "$(NAME)",
// in order.
func ExpandEnv(literal string, text, reference func(string)) {
	unclosed := false // no bracket closes in what is left
	for {
		at := strings.IndexByte(literal, '$')
		if at < 0 || at == len(literal)-1 {
			text(literal)
			return
		}
		text(literal[:at])
		literal = literal[at+1:]
		if literal[0] == '$' { // an escaped dollar
			text("$")
			literal = literal[1:]
			continue
		}
		if literal[0] == '(' && !unclosed {
			name, rest, closed := strings.Cut(literal[1:], ")")
			if closed {
				reference(name)
				literal = rest
				continue
			}
			unclosed = true
		}
		text("$")
	}
}
