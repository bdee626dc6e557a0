package federation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// What families are told of the environment of a workload, which whoever may
// write workloads shapes. Bytes are those of the JSON text, and perVariable for
// each.
const (
	// mostOfTrigger is what the variables that one trigger names may have, with
	// what they refer to, and so all containers for an authentication.
	mostOfTrigger = 64 << 10
	// mostOfObject is what the variables that all triggers of one object name
	// may have.
	mostOfObject = 256 << 10
	perVariable  = 64
	// mostSources is how many objects in a container's envFrom are looked into:
	// a name that is defined nowhere may be in each of them.
	mostSources = 100
)

// environments are those of a workload's containers, for all triggers of one
// object: what is told is found out once, and counted together.
type environments struct {
	// source has the variables that metadata name, nil without a container.
	source func() *variables
	// containers are all of them, for variables that an authentication names.
	containers func() []scalerv1.Container
	room       int
}

// environmentsOf are those of a template; the named container is the source.
func environmentsOf(template *corev1.PodTemplateSpec, name string) *environments {
	return &environments{
		source:     sync.OnceValue(func() *variables { return variablesOf(container(name, template)) }),
		containers: sync.OnceValue(func() []scalerv1.Container { return containersOf(template) }),
		room:       mostOfObject,
	}
}

// named has the variables that metadata name, and those that their literals
// refer to. The error says which have more than may be told.
func (e *environments) named(metadata map[string]string) (map[string]scalerv1.EnvVar, error) {
	names := namedVariables(metadata)
	if len(names) == 0 || e.source() == nil {
		return nil, nil
	}
	room := min(mostOfTrigger, e.room)
	env := newEnvironment(e.source(), room)
	var missing []string
	for _, name := range names {
		if env.add(name) == omitted {
			missing = append(missing, fmt.Sprintf("%.64s", name))
		}
	}
	if len(missing) > 0 {
		return nil, env.refuse(missing, room)
	}
	e.room -= room - env.room
	return env.entries, nil
}

// refuse says why variables are not told.
func (e *environment) refuse(missing []string, room int) error {
	const most = 8
	if more := len(missing) - most; more > 0 {
		missing = append(missing[:most], fmt.Sprintf("... (%d more)", more))
	}
	names := strings.Join(missing, ", ")
	switch {
	case len(e.sources) > mostSources:
		return coded(codes.InvalidArgument, "variables %s: container %s has %d sources in envFrom, more than the %d that are looked into",
			names, e.container.Name, len(e.sources), mostSources)
	case room < mostOfTrigger:
		return coded(codes.InvalidArgument, "variables %s of container %s: those of all triggers of the object have more than %d bytes, with what they refer to",
			names, e.container.Name, mostOfObject)
	}
	return coded(codes.InvalidArgument, "variables %s of container %s: those of the trigger have more than %d bytes, with what they refer to",
		names, e.container.Name, mostOfTrigger)
}

// namedVariables are the variables of the workload that metadata name, sorted.
func namedVariables(metadata map[string]string) []string {
	var names []string
	for key, value := range metadata {
		if scalerv1.NamesVariable(key) {
			names = append(names, strings.TrimSpace(value))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// containersOf has all variables of all containers that a definition names.
// What envFrom adds is known to the family alone, which is told where to look
// when an authentication object names a variable. A container of which not all
// is told says so.
func containersOf(template *corev1.PodTemplateSpec) []scalerv1.Container {
	if template == nil {
		return nil
	}
	var containers []scalerv1.Container
	room := mostOfTrigger
	for i := range template.Spec.Containers {
		env := newEnvironment(variablesOf(&template.Spec.Containers[i]), room)
		c, fits := env.whole()
		containers = append(containers, c)
		if room = env.room; !fits {
			break
		}
	}
	return containers
}

// whole is all of a container. It is false when there is room for no more than
// its name.
func (e *environment) whole() (c scalerv1.Container, fits bool) {
	c = scalerv1.Container{Name: e.container.Name, EnvFrom: e.sources}
	if len(c.EnvFrom) > mostSources {
		c.EnvFrom, c.Incomplete = nil, true
	}
	if cost := len(jsonOf(c)) + perVariable; cost <= e.room {
		e.room -= cost
	} else {
		return scalerv1.Container{Name: c.Name, Incomplete: true}, false
	}
	for _, v := range e.container.Env {
		e.add(v.Name)
	}
	c.Env = e.entries
	if len(e.omitted) > 0 { // one of them must not be looked for in envFrom
		c.EnvFrom, c.Incomplete = nil, true
	}
	return c, true
}

// variables are those of one container, by name.
type variables struct {
	container *corev1.Container
	at        map[string][]int   // where each name is defined in container.Env
	sources   []scalerv1.EnvFrom // of container.EnvFrom, the most important first
	circles   func() map[string]int
}

func variablesOf(c *corev1.Container) *variables {
	if c == nil {
		return nil
	}
	v := &variables{container: c, at: make(map[string][]int, len(c.Env)), sources: sourcesOf(c)}
	for i := range c.Env {
		v.at[c.Env[i].Name] = append(v.at[c.Env[i].Name], i)
	}
	v.circles = sync.OnceValue(func() map[string]int { return circles(v.references()) })
	return v
}

// references has, for each name, those that its last definition refers to. A
// literal that is too long to be told is not looked into.
func (v *variables) references() map[string][]string {
	references := make(map[string][]string, len(v.at))
	for name, at := range v.at {
		references[name] = nil
		literal := v.container.Env[at[len(at)-1]].Value
		if len(literal) > mostOfTrigger {
			continue
		}
		scalerv1.ExpandEnv(literal, func(string) {}, func(to string) {
			if len(v.at[to]) > 0 {
				references[name] = append(references[name], to)
			}
		})
	}
	return references
}

// inCircle reports whether each of two variables refers to the other, by
// whatever way.
func (v *variables) inCircle(a, b string) bool {
	return len(v.at[a]) > 0 && len(v.at[b]) > 0 && v.circles()[a] == v.circles()[b]
}

// environment collects variables of one container for the wire: literals, and
// the places of all others. Values of Secrets and ConfigMaps stay where they
// are.
//
// A container may define a name several times, and a literal sees only what
// stands before it. So each definition has an entry of its own, the last one
// under the plain name, and references are rewritten to the entry that they
// mean.
type environment struct {
	*variables
	entries map[string]scalerv1.EnvVar
	omitted map[string]bool // entries that there was no room for
	room    int
}

func newEnvironment(v *variables, room int) *environment {
	return &environment{variables: v, entries: map[string]scalerv1.EnvVar{}, omitted: map[string]bool{}, room: room}
}

// presence is what became of a variable.
type presence int

const (
	absent presence = iota // the container does not have it, or only the kubelet knows it
	present
	omitted // there is no room for it, or for what it refers to
)

// add adds a variable by its plain name.
func (e *environment) add(name string) presence {
	_, here := e.known(name, len(e.container.Env))
	return here
}

// known adds what a literal before position end sees under a name, and returns
// the entry's name.
func (e *environment) known(name string, end int) (entry string, here presence) {
	all := e.at[name]
	if before, _ := slices.BinarySearch(all, end); before > 0 {
		entry = name
		if before < len(all) {
			entry += "#" + strconv.Itoa(all[before-1])
		}
		return entry, e.define(entry, all[before-1])
	}
	if entry = name; len(all) > 0 {
		entry += "#envFrom"
	}
	return entry, e.elsewhere(entry, name)
}

// elsewhere adds a variable that may be in the objects of envFrom.
func (e *environment) elsewhere(entry, name string) presence {
	if here := e.done(entry); here != absent {
		return here
	}
	if len(e.sources) > mostSources {
		return e.put(entry, nil)
	}
	from, ok := scalerv1.Variable(e.sources, name)
	if !ok {
		return absent
	}
	return e.put(entry, &from)
}

// define adds the definition at a position. Fields of the Pod are known only
// to the kubelet; such variables are left out, as in KEDA.
func (e *environment) define(entry string, at int) presence {
	if here := e.done(entry); here != absent {
		return here
	}
	v := &e.container.Env[at]
	if v.ValueFrom != nil {
		place, ok := placeOf(v.ValueFrom)
		if !ok {
			return absent
		}
		return e.put(entry, &place)
	}
	text := v.Value // not a pointer into the workload, which would stay as long
	literal := &scalerv1.EnvVar{Value: &text}
	if !strings.Contains(text, "$") {
		return e.put(entry, literal)
	}
	// It has its room before it is looked into: what has none never is, and what
	// refers to others in a row ends.
	cost := e.cost(entry, literal)
	if cost > e.room {
		return e.put(entry, nil)
	}
	e.room -= cost
	e.entries[entry] = scalerv1.EnvVar{} // met again, it is a circle
	literal = e.rewrite(text, v.Name, at)
	delete(e.entries, entry)
	e.room += cost
	return e.put(entry, literal)
}

// done is what became of an entry before.
func (e *environment) done(entry string) presence {
	if e.omitted[entry] {
		return omitted
	}
	if _, done := e.entries[entry]; done {
		return present
	}
	return absent
}

// put adds an entry if there is room for it; nil has none.
func (e *environment) put(entry string, v *scalerv1.EnvVar) presence {
	if v != nil {
		if cost := e.cost(entry, v); cost <= e.room {
			e.room -= cost
			e.entries[entry] = *v
			return present
		}
	}
	e.omitted[entry] = true
	return omitted
}

// cost is the room that an entry takes, more than there is for one that is not
// worth to be counted.
func (e *environment) cost(entry string, v *scalerv1.EnvVar) int {
	if v.Value != nil && len(*v.Value) > e.room || len(entry) > e.room {
		return e.room + 1
	}
	return len(jsonOf(entry)) + len(jsonOf(v)) + perVariable
}

// jsonOf is for what consists of texts alone.
func jsonOf(v any) []byte {
	text, _ := json.Marshal(v) // cannot fail
	return text
}

// rewrite makes each reference in a literal one to the entry that it means, and
// escapes what is none. It is nil when one of them is omitted.
func (e *environment) rewrite(literal, of string, at int) *scalerv1.EnvVar {
	var out strings.Builder
	whole := true
	scalerv1.ExpandEnv(literal,
		func(text string) { out.WriteString(strings.ReplaceAll(text, "$", "$$")) },
		func(name string) {
			if !whole {
				return
			}
			entry, here := e.known(name, at)
			if here == absent && e.inCircle(name, of) {
				// A Pod shows such a reference as it stands. Nobody means it,
				// so the family is left to find the circle and say so.
				entry, here = name, e.add(name)
			}
			switch here {
			case present:
				out.WriteString("$(" + entry + ")")
			case absent:
				out.WriteString("$$(" + name + ")")
			case omitted:
				whole = false
			}
		})
	if !whole {
		return nil
	}
	text := out.String()
	return &scalerv1.EnvVar{Value: &text}
}

// circles numbers names: those that refer to each other, by whatever way, have
// the same number. It looks at each reference twice, whatever they are
// (Kosaraju's algorithm, without recursion).
func circles(references map[string][]string) map[string]int {
	backward := make(map[string][]string, len(references))
	for from, all := range references {
		for _, to := range all {
			backward[to] = append(backward[to], from)
		}
	}
	number := make(map[string]int, len(references))
	for _, first := range slices.Backward(finished(references)) {
		n := len(number)
		for reached := []string{first}; len(reached) > 0; {
			name := reached[len(reached)-1]
			reached = reached[:len(reached)-1]
			if _, done := number[name]; !done {
				number[name] = n
				reached = append(reached, backward[name]...)
			}
		}
	}
	return number
}

// finished is all names, each behind those that it refers to, except in a
// circle.
func finished(references map[string][]string) []string {
	type visit struct {
		name string
		left []string // references that are yet to be followed
	}
	order := make([]string, 0, len(references))
	seen := make(map[string]bool, len(references))
	var path []visit
	enter := func(name string) {
		if !seen[name] {
			seen[name] = true
			path = append(path, visit{name, references[name]})
		}
	}
	for name := range references {
		enter(name)
		for len(path) > 0 {
			last := &path[len(path)-1]
			if len(last.left) == 0 {
				order = append(order, last.name)
				path = path[:len(path)-1]
				continue
			}
			next := last.left[0]
			last.left = last.left[1:]
			enter(next)
		}
	}
	return order
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
