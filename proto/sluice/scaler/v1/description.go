package scalerv1

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Keys are all spellings of the parameter's key.
func (p *Parameter) Keys() []string { return append([]string{p.GetName()}, p.GetAliases()...) }

// From reports whether the parameter may come from source.
func (p *Parameter) From(source ValueSource) bool { return slices.Contains(p.GetSources(), source) }

// Unknown returns a sentence for each key of a trigger's metadata that has no
// effect, in the order of keys, with what was probably meant. Values are never
// shown. Reserved keys are none of the user's and left out.
func (t *TriggerType) Unknown(metadata map[string]string) []string {
	if t.GetAcceptsOtherParameters() {
		return nil
	}
	accepted := t.acceptedKeys()
	var sentences []string
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if IsReserved(key) || slices.Contains(accepted, key) {
			continue
		}
		candidates := accepted
		if len(sentences) >= mostMeant {
			candidates = nil
		}
		sentences = append(sentences, key+": "+t.ignored(key, candidates))
	}
	return sentences
}

// mostMeant is of how many unknown keys it is found out what was meant: who has
// more of them made none of them by a slip.
const mostMeant = 20

// acceptedKeys are all keys that a trigger's metadata may have.
func (t *TriggerType) acceptedKeys() []string {
	var keys []string
	for _, p := range t.GetParameters() {
		for _, key := range p.Keys() {
			if p.From(ValueSource_VALUE_SOURCE_TRIGGER) {
				keys = append(keys, key)
			}
			if p.From(ValueSource_VALUE_SOURCE_ENV) {
				keys = append(keys, EnvKey(key))
			}
		}
	}
	return keys
}

func (t *TriggerType) ignored(key string, accepted []string) string {
	base := strings.TrimSuffix(key, FromEnvSuffix)
	for _, p := range t.GetParameters() {
		if slices.Contains(p.Keys(), base) {
			return fmt.Sprintf("ignored, %s is only read from %s", base, strings.Join(p.Places(base), " and "))
		}
	}
	if near := Nearest(key, accepted); near != "" {
		return fmt.Sprintf("unknown parameter, did you mean %s?", near)
	}
	return "unknown parameter"
}

// Places says where the parameter is looked for when it is spelt key, in
// order.
func (p *Parameter) Places(key string) []string {
	places := make([]string, len(p.GetSources()))
	for i, source := range p.GetSources() {
		places[i] = source.Place(key)
	}
	return places
}

// Place says where a source has the parameter of that key.
func (s ValueSource) Place(key string) string {
	switch s {
	case ValueSource_VALUE_SOURCE_ENV:
		return EnvKey(key)
	case ValueSource_VALUE_SOURCE_AUTHENTICATION:
		return "authentication"
	default:
		return "metadata"
	}
}

// Nearest returns the candidate that word is a slip of, or "": at most one
// slip in four letters, whatever the case. A slip is a letter too many, too few
// or wrong, or two that changed places.
func Nearest(word string, candidates []string) string {
	best, closest := "", len(word)/4+1
	word = strings.ToLower(word)
	for _, candidate := range candidates {
		if max(len(word)-len(candidate), len(candidate)-len(word)) >= closest {
			continue // as many slips at least; and who writes the word may write a very long one
		}
		if d := slips(word, strings.ToLower(candidate), closest); d < closest {
			best, closest = candidate, d
		}
	}
	return best
}

// slips is the distance of Damerau and Levenshtein, in its restricted form, as far
// as it is less than most. It is written here because this module brings no library
// to whoever speaks the contract.
func slips(a, b string, most int) int {
	rows := make([]int, 3*(len(b)+1))
	before, last, row := rows[:len(b)+1], rows[len(b)+1:2*(len(b)+1)], rows[2*(len(b)+1):] // before is the row before the last
	for j := range last {
		last[j] = j
	}
	fewest := 0 // of the last row
	for i := range len(a) {
		least := i + 1
		row[0] = least
		for j := range len(b) {
			kept := last[j]
			if a[i] != b[j] {
				kept++
			}
			row[j+1] = min(kept, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
			least = min(least, row[j+1])
		}
		if least >= most && fewest >= most { // two rows, as two letters that changed places lead over one
			return most
		}
		fewest = least
		before, last, row = last, row, before
	}
	return last[len(b)]
}
