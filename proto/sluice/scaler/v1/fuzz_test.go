package scalerv1

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// FuzzEnv proves that what DecodeEnv accepts is encoded and decoded to the
// same, that it can be resolved, and that errors quote nothing of it.
func FuzzEnv(f *testing.F) {
	for _, text := range []string{
		"", "{}", `{"A":{"value":"$(B)$$"},"B":{"secretKeyRef":{"name":"s","key":"k","optional":true}}}`, `{"A":{}}`, `{"A":{"value":"$(A)"}}`,
		`{"A":{"value":"a","configMapKeyRef":{"name":"c","key":"k"}}}`, `[`, `{"A":{"value":"$(`, `{"A":{"value":"$(B"},"B":{"value":"$(A)"}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		env, err := DecodeEnv(text)
		if err != nil {
			if env != nil {
				t.Errorf("%v, and yet %v", err, env)
			}
			return
		}
		literals := LiteralEnv(env)
		for name := range literals {
			if _, there := env[name]; !there {
				t.Errorf("variable %q out of nowhere", name)
			}
		}
		if _, err := ResolveEnv(env, slices.Sorted(maps.Keys(env)), func(string, EnvVar) (string, Finding) { return "", Absent }); err != nil && len(err.Error()) > 8<<10 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		if len(env) == 0 {
			return
		}
		encoded, err := EncodeEnv(env)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeEnv(encoded)
		if err != nil || !reflect.DeepEqual(again, env) || !maps.Equal(LiteralEnv(again), literals) {
			t.Errorf("%v came back as %v, %v", env, again, err)
		}
	})
}

// FuzzValues proves that no text is a number that is none, or a negative
// duration, and that Nearest returns a candidate or nothing.
func FuzzValues(f *testing.F) {
	for _, text := range []string{"", "0", "-0", "1e3", "1e999", ".5", "+5", "05", "NaN", "Inf", "0x1", "30s", "-1s", "9223372036854775807", "-9223372036854775808", "1h1ns", "true", "kafak", "\xff"} {
		f.Add(text)
	}
	candidates := []string{"kafka", "queueLength", "a", ""}
	f.Fuzz(func(t *testing.T, text string) {
		if x, err := ParseFloat(text); err == nil && (math.IsNaN(x) || math.IsInf(x, 0)) {
			t.Errorf("ParseFloat(%q) = %v", text, x)
		}
		if n, err := ParseInteger(text, 32); err == nil && (n > math.MaxInt32 || n < math.MinInt32) {
			t.Errorf("ParseInteger(%q) = %v", text, n)
		}
		if d, err := ParseDuration(text); err == nil && d < 0 {
			t.Errorf("ParseDuration(%q) = %v", text, d)
		}
		_, _ = ParseBool(text)
		_, _ = ParseQuery(text)
		if near := Nearest(text, candidates); near != "" && !strings.Contains("kafka queueLength a", near) {
			t.Errorf("Nearest(%q) = %q", text, near)
		}
	})
}
