package scaler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// unknown returns a sentence for each metadata key that has no effect, with
// what was probably meant. Values are never shown. It never fails a trigger,
// because existing manifests carry such keys.
func (p *plan) unknown(metadata map[string]string) []string {
	accepted := p.acceptedKeys()
	var warnings []string
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if !slices.Contains(accepted, key) {
			warnings = append(warnings, key+": "+p.ignored(key, accepted))
		}
	}
	return warnings
}

// acceptedKeys are all keys that a trigger's metadata may have.
func (p *plan) acceptedKeys() []string {
	var keys []string
	for _, f := range p.fields {
		for _, key := range f.keys() {
			if f.from(scalerv1.ValueSource_VALUE_SOURCE_TRIGGER) {
				keys = append(keys, key)
			}
			if f.from(scalerv1.ValueSource_VALUE_SOURCE_ENV) {
				keys = append(keys, key+scalerv1.FromEnvSuffix)
			}
		}
	}
	return keys
}

func (p *plan) ignored(key string, accepted []string) string {
	base := strings.TrimSuffix(key, scalerv1.FromEnvSuffix)
	if f := p.named(base); f != nil {
		places := make([]string, len(f.sources))
		for i, source := range f.sources {
			places[i] = placeOf(source, base)
		}
		return fmt.Sprintf("ignored, %s is only read from %s", base, strings.Join(places, " and "))
	}
	if near := nearest(key, accepted); near != "" {
		return fmt.Sprintf("unknown parameter, did you mean %s?", near)
	}
	return "unknown parameter"
}

func (p *plan) named(key string) *field {
	for _, f := range p.fields {
		if slices.Contains(f.keys(), key) {
			return f
		}
	}
	return nil
}

// nearest returns the candidate that key is a slip of, or "": at most one
// change in four letters, whatever the case.
func nearest(key string, candidates []string) string {
	best, distance := "", len(key)/4+1
	for _, candidate := range candidates {
		d := levenshtein.ComputeDistance(strings.ToLower(key), strings.ToLower(candidate))
		if d < distance {
			best, distance = candidate, d
		}
	}
	return best
}
