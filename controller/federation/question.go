package federation

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"strings"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// questionKey is equal for triggers that ask the same question, as far as the
// core can tell: by the parameters that the family describes as part of the
// question, and by all metadata where it describes nothing. It decides only
// which instance is asked, so that two triggers keyed apart by mistake cost a
// read and no more. So variables are not expanded for it, which takes milliseconds
// where they are long, and everybody waits.
//
// Every process computes the same key, which is how the adapter finds the
// instance that the controller subscribed at.
func questionKey(t Trigger, description *scalerv1.TriggerType) uint64 {
	w := keyWriter{sha256.New()}
	w.text(t.Type, t.Authentication)
	own := t.ownMetadata()
	names := questionParameters(description)
	namespaced := strings.HasPrefix(t.Authentication, "TriggerAuthentication/")
	switch {
	case len(names) == 0:
		for _, key := range slices.Sorted(maps.Keys(own)) {
			w.text(key, own[key])
		}
		namespaced = true
	default:
		for _, p := range names {
			value, fromNamespace := t.parameter(own, p)
			w.text(p.GetName(), value)
			namespaced = namespaced || fromNamespace
		}
	}
	for _, parameter := range slices.Sorted(maps.Keys(t.Inline)) {
		w.text(parameter, t.Inline[parameter].Name, t.Inline[parameter].Key)
		namespaced = true
	}
	if namespaced {
		w.text(t.Namespace)
	}
	if description.GetAcceptsOtherParameters() { // what is behind it may tell objects apart
		w.text(t.String())
	}
	return w.sum()
}

// questionParameters are the described parameters of the question, by name. It
// is empty where all metadata is the question.
func questionParameters(description *scalerv1.TriggerType) []*scalerv1.Parameter {
	if description.GetAcceptsOtherParameters() {
		return nil
	}
	var names []*scalerv1.Parameter
	for _, p := range description.GetParameters() {
		if p.GetQuestion() {
			names = append(names, p)
		}
	}
	slices.SortFunc(names, func(a, b *scalerv1.Parameter) int { return strings.Compare(a.GetName(), b.GetName()) })
	return names
}

// parameter returns a text for the value of p, and whether what it stands for
// depends on the trigger's namespace.
func (t Trigger) parameter(own map[string]string, p *scalerv1.Parameter) (value string, namespaced bool) {
	for _, name := range append([]string{p.GetName()}, p.GetAliases()...) {
		if value := strings.TrimSpace(own[name]); value != "" {
			return value, false
		}
		variable := strings.TrimSpace(own[scalerv1.EnvKey(name)])
		if variable == "" {
			continue
		}
		v := t.Env[variable]
		switch {
		case v.Value != nil:
			return *v.Value, false
		case v.SecretKeyRef != nil:
			return "secret/" + v.SecretKeyRef.Name + "/" + v.SecretKeyRef.Key, true
		case len(v.EnvFrom) > 0:
			return "envFrom/" + variable, true
		case v.ConfigMapKeyRef != nil:
			return "configmap/" + v.ConfigMapKeyRef.Name + "/" + v.ConfigMapKeyRef.Key, true
		}
	}
	return p.GetDefaultValue(), false
}

// keyWriter hashes texts with their lengths, so that neighbours cannot run
// together.
type keyWriter struct{ hash.Hash }

func (w keyWriter) text(texts ...string) {
	for _, text := range texts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(text)))
		w.Write(size[:])
		w.Write([]byte(text))
	}
}

func (w keyWriter) sum() uint64 { return binary.BigEndian.Uint64(w.Sum(nil)) }

// addressKey is an instance's part of the choice.
func addressKey(address string) uint64 {
	w := keyWriter{sha256.New()}
	w.text(address)
	return w.sum()
}

// score ranks an instance for a question: the highest is asked. This is
// rendezvous hashing: an instance that comes or goes moves only the questions
// that it wins or had. The mixing is splitmix64's.
func score(question, address uint64) uint64 {
	z := question ^ address
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
