package scalerv1_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

func literal(text string) scalerv1.EnvVar { return scalerv1.EnvVar{Value: &text} }

func secret(name, key string) scalerv1.EnvVar {
	return scalerv1.EnvVar{SecretKeyRef: &scalerv1.KeyRef{Name: name, Key: key}}
}

func TestEnvCrossesTheWire(t *testing.T) {
	env := map[string]scalerv1.EnvVar{
		"HOST":     literal("broker"),
		"PASSWORD": secret("login", "password"),
		"LEVEL":    {ConfigMapKeyRef: &scalerv1.KeyRef{Name: "app", Key: "level", Optional: true}},
	}
	text, err := scalerv1.EncodeEnv(env)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"HOST":{"value":"broker"},` +
		`"LEVEL":{"configMapKeyRef":{"name":"app","key":"level","optional":true}},` +
		`"PASSWORD":{"secretKeyRef":{"name":"login","key":"password"}}}`
	if text != want {
		t.Errorf("encoded = %s, want %s", text, want)
	}
	decoded, err := scalerv1.DecodeEnv(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := scalerv1.EncodeEnv(decoded); err != nil || again != text {
		t.Errorf("encoded again = %s, %v, want %s", again, err, text)
	}
}

func TestEnvRefused(t *testing.T) {
	tests := map[string]struct{ text, message string }{
		"not JSON":          {`PASSWORD=hunter2`, "sluice.dev/env: is not a JSON object of variables"},
		"no source":         {`{"A":{}}`, "sluice.dev/env: variable A needs exactly one of value, secretKeyRef, configMapKeyRef, envFrom"},
		"two sources":       {`{"A":{"value":"hunter2","secretKeyRef":{"name":"n","key":"k"}}}`, "sluice.dev/env: variable A needs exactly one of value, secretKeyRef, configMapKeyRef, envFrom"},
		"envFrom a literal": {`{"A":{"envFrom":[{"value":"hunter2"}]}}`, "sluice.dev/env: variable A: each of envFrom needs one of secretKeyRef, configMapKeyRef"},
		"value a number":    {`{"A":{"value":5}}`, "sluice.dev/env: is not a JSON object of variables"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := scalerv1.DecodeEnv(tt.text); err == nil || err.Error() != tt.message {
				t.Errorf("error = %v, want %q", err, tt.message)
			}
		})
	}
}

func TestResolveEnv(t *testing.T) {
	read := func(name string, _ scalerv1.EnvVar) (string, scalerv1.Finding) {
		switch name {
		case "PASSWORD":
			return "hunter2", scalerv1.Found
		case "LATER":
			return "", scalerv1.Pending
		}
		return "", scalerv1.Absent
	}
	type env = map[string]scalerv1.EnvVar
	tests := map[string]struct {
		env     env
		want    map[string]string
		message string
	}{
		"a literal expands a literal":          {env: env{"A": literal("a$(B)c"), "B": literal("b")}, want: map[string]string{"A": "abc", "B": "b"}},
		"a literal expands a reference":        {env: env{"URL": literal("u:$(PASSWORD)@h"), "PASSWORD": secret("s", "k")}, want: map[string]string{"URL": "u:hunter2@h", "PASSWORD": "hunter2"}},
		"an escape is no reference":            {env: env{"A": literal("$$(B)$$"), "B": literal("b")}, want: map[string]string{"A": "$(B)$", "B": "b"}},
		"a lone dollar stays":                  {env: env{"A": literal("$5 $(B $")}, want: map[string]string{"A": "$5 $(B $"}},
		"what is not there stays as it is":     {env: env{"A": literal("x$(GONE)$(OTHER)"), "GONE": secret("s", "k")}, want: map[string]string{"A": "x$(GONE)$(OTHER)"}},
		"what is not read yet has no value":    {env: env{"A": literal("x$(LATER)"), "LATER": secret("s", "k")}, want: map[string]string{}},
		"a circle has no value":                {env: env{"A": literal("$(B)"), "B": literal("$(A)"), "C": literal("c")}, want: map[string]string{"C": "c"}, message: "variable A refers to itself: A -> B -> A"},
		"an empty literal is a literal":        {env: env{"A": literal("")}, want: map[string]string{"A": ""}},
		"names are not patterns":               {env: env{"A": literal("$()x")}, want: map[string]string{"A": "$()x"}},
		"text around several references stays": {env: env{"A": literal("<$(B)$(B)>"), "B": literal("b")}, want: map[string]string{"A": "<bb>", "B": "b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := scalerv1.ResolveEnv(tt.env, slices.Sorted(maps.Keys(tt.env)), read)
			if !maps.Equal(got, tt.want) {
				t.Errorf("resolved = %v, want %v", got, tt.want)
			}
			if (err == nil) != (tt.message == "") || err != nil && err.Error() != tt.message {
				t.Errorf("error = %v, want %q", err, tt.message)
			}
		})
	}
}

func TestResolveEnvReadsWhatIsNamed(t *testing.T) {
	env := map[string]scalerv1.EnvVar{"A": secret("s", "a"), "B": secret("s", "b")}
	values, err := scalerv1.ResolveEnv(env, []string{"A"}, func(name string, _ scalerv1.EnvVar) (string, scalerv1.Finding) {
		if name != "A" {
			t.Errorf("variable %s was read", name)
		}
		return "a", scalerv1.Found
	})
	if want := map[string]string{"A": "a"}; err != nil || !maps.Equal(values, want) {
		t.Errorf("resolved = %v, %v, want %v", values, err, want)
	}
}

func TestLiteralEnvReadsNothing(t *testing.T) {
	env := map[string]scalerv1.EnvVar{"HOST": literal("broker"), "PASSWORD": secret("s", "k"), "URL": literal("u:$(PASSWORD)@h")}
	if got, want := scalerv1.LiteralEnv(env), map[string]string{"HOST": "broker"}; !maps.Equal(got, want) {
		t.Errorf("literals = %v, want %v", got, want)
	}
}

func TestVariablesThatGrowWithoutEnd(t *testing.T) {
	env := map[string]scalerv1.EnvVar{"V0": literal("0123456789abcdef")}
	for i := 1; i <= 60; i++ {
		env[fmt.Sprintf("V%d", i)] = literal(fmt.Sprintf("$(V%d)$(V%d)", i-1, i-1))
	}
	values, err := scalerv1.ResolveEnv(env, []string{"V13", "V60"}, nil)
	if len(values) != 1 || len(values["V13"]) != 16<<13 || err == nil || err.Error() != "variable V14 is longer than the 131072 bytes that one may have" {
		t.Errorf("%d values, error %v", len(values), err)
	}
}

// Many variables that each are long enough by themselves.
func TestVariablesThatAreLongTogether(t *testing.T) {
	env := map[string]scalerv1.EnvVar{"BASE": literal(strings.Repeat("x", 30<<10))}
	for i := range 500 {
		env[fmt.Sprintf("V%03d", i)] = literal("$(BASE)$(BASE)$(BASE)$(BASE)")
	}
	total := 0
	for _, value := range scalerv1.LiteralEnv(env) {
		total += len(value)
	}
	if total < 400<<10 || total > 600<<10 {
		t.Errorf("%d bytes", total)
	}
	_, err := scalerv1.ResolveEnv(env, slices.Sorted(maps.Keys(env)), nil)
	if err == nil || !strings.Contains(err.Error(), "variable V004 and others expand to more than the 524288 bytes that they may have together") {
		t.Errorf("error %v", err)
	}
}

// Variables of which each refers to all others have more circles than anybody
// could be told of, and some of them are long.
func TestCirclesAreToldInShort(t *testing.T) {
	const many = 300
	name := func(i int) string { return fmt.Sprintf("V%d_%s", i, strings.Repeat("n", 1000)) }
	var all strings.Builder
	for i := range many {
		all.WriteString("$(" + name(i) + ")")
	}
	env := map[string]scalerv1.EnvVar{"LAST": literal("last")}
	for i := range many {
		env[name(i)] = literal(all.String()[:100<<10] + "$(" + name((i+1)%many) + ")")
	}
	values, err := scalerv1.ResolveEnv(env, slices.Sorted(maps.Keys(env)), nil)
	if !maps.Equal(values, map[string]string{"LAST": "last"}) {
		t.Errorf("%d values", len(values))
	}
	if err == nil || len(err.Error()) > 8<<10 {
		t.Fatalf("the error has %d bytes", len(fmt.Sprint(err)))
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 9 || !strings.HasSuffix(lines[8], " more variables have no value either") {
		t.Errorf("error %v", err)
	}
	for _, line := range lines[:8] {
		if members := strings.Count(line, " -> "); members < 1 || members > 8 {
			t.Errorf("a circle shows %d members: %s", members, line)
		}
	}
}

// A row of variables that is longer than anybody writes is refused where it
// begins; what it is made of has its values.
func TestRowsOfVariables(t *testing.T) {
	const many = 100_000
	env := map[string]scalerv1.EnvVar{"V0": literal("end")}
	for i := 1; i < many; i++ {
		env[fmt.Sprintf("V%d", i)] = literal(fmt.Sprintf("$(V%d)", i-1))
	}
	values, err := scalerv1.ResolveEnv(env, []string{fmt.Sprintf("V%d", many-1), "V500", "V1400"}, nil)
	if !maps.Equal(values, map[string]string{"V500": "end", "V1400": "end"}) {
		t.Errorf("%d values", len(values))
	}
	if err == nil || err.Error() != "variable V99999 refers to others more than 1000 deep" {
		t.Errorf("error %.300v", err)
	}
}

// Each character of a literal is looked at once: with a look ahead from each
// bracket or dollar, these would take days.
func TestLiteralsThatAreNeverClosed(t *testing.T) {
	for _, part := range []string{"$(", "$x", "$$("} {
		text := 0
		scalerv1.ExpandEnv(strings.Repeat(part, 16<<20/len(part)), func(part string) { text += len(part) }, func(name string) {
			t.Errorf("%.10s: a reference of %d bytes", part, len(name))
		})
		if text < 8<<20 {
			t.Errorf("%s: %d bytes are left", part, text)
		}
	}
}
