package federation

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// environment collects variables of one container for the wire: literals, and
// the places of all others. Values of Secrets and ConfigMaps stay where they
// are.
//
// A container may define a name several times, and a literal sees only what
// stands before it. So each definition has an entry of its own, the last one
// under the plain name, and references are rewritten to the entry that they
// mean.
type environment struct {
	container *corev1.Container
	at        map[string][]int // where each name is defined in container.Env
	entries   map[string]scalerv1.EnvVar
}

func newEnvironment(c *corev1.Container) *environment {
	e := &environment{container: c, at: map[string][]int{}, entries: map[string]scalerv1.EnvVar{}}
	for i, v := range c.Env {
		e.at[v.Name] = append(e.at[v.Name], i)
	}
	return e
}

// envOf has the variables that metadata names, and those that their literals
// refer to.
func envOf(metadata map[string]string, c *corev1.Container) map[string]scalerv1.EnvVar {
	if c == nil {
		return nil
	}
	e := newEnvironment(c)
	for key, value := range metadata {
		if scalerv1.NamesVariable(key) {
			e.add(strings.TrimSpace(value))
		}
	}
	return e.entries
}

// namesVariable reports whether metadata name a variable of the workload.
func namesVariable(metadata map[string]string) bool {
	for key := range metadata {
		if scalerv1.NamesVariable(key) {
			return true
		}
	}
	return false
}

// containersOf has all variables of all containers that a definition names.
// What envFrom adds is known to the family alone, which is told where to look
// when an authentication object names a variable.
func containersOf(template *corev1.PodTemplateSpec) []scalerv1.Container {
	if template == nil {
		return nil
	}
	containers := make([]scalerv1.Container, len(template.Spec.Containers))
	for i := range template.Spec.Containers {
		c := &template.Spec.Containers[i]
		e := newEnvironment(c)
		for name := range e.at {
			e.add(name)
		}
		containers[i] = scalerv1.Container{Name: c.Name, Env: e.entries, EnvFrom: sourcesOf(c)}
	}
	return containers
}

// add adds a variable by its plain name, unless the container does not have it.
func (e *environment) add(name string) { e.known(name, len(e.container.Env)) }

// known adds what a literal before position end sees under a name, and returns
// the entry's name. It is false when that sees nothing.
func (e *environment) known(name string, end int) (entry string, ok bool) {
	all := e.at[name]
	for i := len(all) - 1; i >= 0; i-- {
		if at := all[i]; at < end {
			entry = name
			if i < len(all)-1 {
				entry += "#" + strconv.Itoa(at)
			}
			return entry, e.define(entry, at)
		}
	}
	from, ok := scalerv1.Variable(sourcesOf(e.container), name)
	if !ok {
		return "", false
	}
	if entry = name; len(all) > 0 {
		entry += "#envFrom"
	}
	e.entries[entry] = from
	return entry, true
}

// define adds the definition at a position. Fields of the Pod are known only
// to the kubelet; such variables are left out, as in KEDA.
func (e *environment) define(entry string, at int) bool {
	if _, done := e.entries[entry]; done {
		return true
	}
	v := &e.container.Env[at]
	if v.ValueFrom != nil {
		place, ok := placeOf(v.ValueFrom)
		if ok {
			e.entries[entry] = place
		}
		return ok
	}
	e.entries[entry] = scalerv1.EnvVar{} // met again, it is a circle
	literal := e.rewrite(v.Value, v.Name, at)
	e.entries[entry] = scalerv1.EnvVar{Value: &literal}
	return true
}

// rewrite makes each reference in a literal one to the entry that it means, and
// escapes what is none.
func (e *environment) rewrite(literal, of string, at int) string {
	var out strings.Builder
	scalerv1.ExpandEnv(literal,
		func(text string) { out.WriteString(strings.ReplaceAll(text, "$", "$$")) },
		func(name string) {
			entry, ok := e.known(name, at)
			switch {
			case ok:
				out.WriteString("$(" + entry + ")")
			case e.leadsTo(name, of, map[string]bool{}):
				// A Pod shows such a reference as it stands. Nobody means it,
				// so the family is left to find the circle and say so.
				e.add(name)
				out.WriteString("$(" + name + ")")
			default:
				out.WriteString("$$(" + name + ")")
			}
		})
	return out.String()
}

// leadsTo reports whether a variable refers to another, by whatever way.
func (e *environment) leadsTo(from, to string, seen map[string]bool) bool {
	all := e.at[from]
	if len(all) == 0 || seen[from] {
		return false
	}
	if from == to {
		return true
	}
	seen[from] = true
	found := false
	scalerv1.ExpandEnv(e.container.Env[all[len(all)-1]].Value, func(string) {}, func(name string) {
		found = found || e.leadsTo(name, to, seen)
	})
	return found
}

// sourcesOf are the objects whose keys are variables, the last one first: it
// counts most.
func sourcesOf(c *corev1.Container) []scalerv1.EnvFrom {
	var sources []scalerv1.EnvFrom
	for i := len(c.EnvFrom) - 1; i >= 0; i-- {
		from := c.EnvFrom[i]
		if ref := from.SecretRef; ref != nil {
			sources = append(sources, scalerv1.EnvFrom{Prefix: from.Prefix, Secret: ref.Name, Optional: isTrue(ref.Optional)})
		}
		if ref := from.ConfigMapRef; ref != nil {
			sources = append(sources, scalerv1.EnvFrom{Prefix: from.Prefix, ConfigMap: ref.Name, Optional: isTrue(ref.Optional)})
		}
	}
	return sources
}

// placeOf says where a variable's value is.
func placeOf(from *corev1.EnvVarSource) (scalerv1.EnvVar, bool) {
	switch {
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		return scalerv1.EnvVar{SecretKeyRef: &scalerv1.KeyRef{Name: ref.Name, Key: ref.Key, Optional: isTrue(ref.Optional)}}, true
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		return scalerv1.EnvVar{ConfigMapKeyRef: &scalerv1.KeyRef{Name: ref.Name, Key: ref.Key, Optional: isTrue(ref.Optional)}}, true
	}
	return scalerv1.EnvVar{}, false
}

func isTrue(b *bool) bool { return b != nil && *b }
