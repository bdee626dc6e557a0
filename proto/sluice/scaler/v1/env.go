package scalerv1

import (
	"encoding/json"
	"fmt"
	"strings"
)

// EnvVar is one environment variable of a scale target: a literal, or where
// its value is kept. Exactly one field is set.
type EnvVar struct {
	// Value is a literal. "$(NAME)" in it stands for another variable of the
	// same map and "$$" for "$", as in a Pod. Whoever builds the map includes
	// what a literal refers to, and escapes what is not a reference.
	Value *string `json:"value,omitempty"`
	// SecretKeyRef names a key of a Secret in the object's namespace.
	SecretKeyRef *KeyRef `json:"secretKeyRef,omitempty"`
	// ConfigMapKeyRef names a key of a ConfigMap in the object's namespace.
	ConfigMapKeyRef *KeyRef `json:"configMapKeyRef,omitempty"`
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
	for _, given := range []bool{v.Value != nil, v.SecretKeyRef != nil, v.ConfigMapKeyRef != nil} {
		if given {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("%s: variable %s needs exactly one of value, secretKeyRef, configMapKeyRef", KeyEnv, name)
	}
	return nil
}

// ResolveEnv returns the values of env with literals expanded. read is asked
// for the references and reports false for one that has no value; a variable
// without a value, or whose literal refers to one, is left out.
func ResolveEnv(env map[string]EnvVar, read func(name string, v EnvVar) (string, bool)) map[string]string {
	r := resolution{env: env, read: read, done: make(map[string]string, len(env)), seen: map[string]bool{}}
	for name := range env {
		r.value(name)
	}
	return r.done
}

// LiteralEnv returns the values that are known without reading any object.
func LiteralEnv(env map[string]EnvVar) map[string]string {
	return ResolveEnv(env, func(string, EnvVar) (string, bool) { return "", false })
}

// resolution is one run of ResolveEnv.
type resolution struct {
	env  map[string]EnvVar
	read func(string, EnvVar) (string, bool)
	done map[string]string
	seen map[string]bool // begun: a circle of references has no value
}

func (r resolution) value(name string) (string, bool) {
	if text, ok := r.done[name]; ok {
		return text, true
	}
	v, ok := r.env[name]
	if !ok || r.seen[name] {
		return "", false
	}
	r.seen[name] = true
	var text string
	if v.Value != nil {
		text, ok = r.expand(*v.Value)
	} else {
		text, ok = r.read(name, v)
	}
	if ok {
		r.done[name] = text
	}
	return text, ok
}

// expand replaces references in a literal. It reports false when one of them
// has no value.
func (r resolution) expand(literal string) (string, bool) {
	var out strings.Builder
	for {
		at := strings.IndexByte(literal, '$')
		if at < 0 || at == len(literal)-1 {
			out.WriteString(literal)
			return out.String(), true
		}
		out.WriteString(literal[:at])
		literal = literal[at+1:]
		if literal[0] == '$' { // an escaped dollar
			out.WriteByte('$')
			literal = literal[1:]
			continue
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(literal, "("), ")")
		if literal[0] != '(' || !closed {
			out.WriteByte('$')
			continue
		}
		text, ok := r.value(name)
		if !ok {
			return "", false
		}
		out.WriteString(text)
		literal = rest
	}
}
