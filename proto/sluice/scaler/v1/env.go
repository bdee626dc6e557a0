package scalerv1

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
		return fmt.Errorf("%s: variable %s needs exactly one of value, secretKeyRef, configMapKeyRef, envFrom", KeyEnv, name)
	}
	for _, from := range v.EnvFrom {
		if from.Value != nil || len(from.EnvFrom) > 0 || (from.SecretKeyRef == nil) == (from.ConfigMapKeyRef == nil) {
			return fmt.Errorf("%s: variable %s: each of envFrom needs one of secretKeyRef, configMapKeyRef", KeyEnv, name)
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
// The error names the variables that refer to themselves in a circle and those
// that are too long; all others have their values nevertheless.
func ResolveEnv(env map[string]EnvVar, names []string, read func(name string, v EnvVar) (string, Finding)) (map[string]string, error) {
	r := resolution{env: env, read: read, done: make(map[string]resolved, len(names))}
	values := make(map[string]string, len(names))
	for _, name := range names {
		if v := r.value(name); v.finding == Found {
			values[name] = v.text
		}
	}
	return values, errors.Join(r.wrong...)
}

// LiteralEnv returns the values that are known without reading any object.
func LiteralEnv(env map[string]EnvVar) map[string]string {
	values, _ := ResolveEnv(env, slices.Collect(maps.Keys(env)), func(string, EnvVar) (string, Finding) { return "", Pending })
	return values // one that goes in a circle or is too long has none
}

// resolution is one run of ResolveEnv.
type resolution struct {
	env   map[string]EnvVar
	read  func(string, EnvVar) (string, Finding)
	done  map[string]resolved
	path  []string // of variables that are being expanded
	wrong []error
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
	if at := slices.Index(r.path, name); at >= 0 {
		r.wrong = append(r.wrong, fmt.Errorf("variable %s refers to itself: %s",
			name, strings.Join(append(slices.Clone(r.path[at:]), name), " -> ")))
		return resolved{}
	}
	var result resolved
	if v.Value != nil {
		r.path = append(r.path, name)
		result = r.expand(name, *v.Value)
		r.path = r.path[:len(r.path)-1]
	} else {
		result.text, result.finding = r.read(name, v)
	}
	r.done[name] = result
	return result
}

// longestVariable is what Linux lets a variable be, in bytes. No container
// starts with a longer one, and a few variables that refer to each other twice
// must not take the memory of everybody.
const longestVariable = 128 << 10

// expand replaces references in the literal of a variable. One that is too long
// has no value, and neither has what refers to it.
func (r *resolution) expand(name, literal string) resolved {
	var out strings.Builder
	finding := Found
	write := func(text string) {
		if finding == Found && out.Len()+len(text) > longestVariable {
			r.wrong = append(r.wrong, fmt.Errorf("variable %s is longer than the %d bytes that one may have", name, longestVariable))
			finding = Pending
		}
		if finding == Found {
			out.WriteString(text)
		}
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

// ExpandEnv takes a literal apart as a Pod's is: text is called with what
// stands for itself, "$$" being "$", and reference with the names in "$(NAME)",
// in order.
func ExpandEnv(literal string, text, reference func(string)) {
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
		name, rest, closed := strings.Cut(strings.TrimPrefix(literal, "("), ")")
		if literal[0] != '(' || !closed {
			text("$")
			continue
		}
		reference(name)
		literal = rest
	}
}
