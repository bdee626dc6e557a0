package scalerv1_test

import (
	"maps"
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
		"not JSON":       {`PASSWORD=hunter2`, "sluice.dev/env: is not a JSON object of variables"},
		"no source":      {`{"A":{}}`, "sluice.dev/env: variable A needs exactly one of value, secretKeyRef, configMapKeyRef"},
		"two sources":    {`{"A":{"value":"hunter2","secretKeyRef":{"name":"n","key":"k"}}}`, "sluice.dev/env: variable A needs exactly one of value, secretKeyRef, configMapKeyRef"},
		"value a number": {`{"A":{"value":5}}`, "sluice.dev/env: is not a JSON object of variables"},
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
	read := func(name string, _ scalerv1.EnvVar) (string, bool) {
		return "hunter2", name == "PASSWORD"
	}
	tests := map[string]struct {
		env  map[string]scalerv1.EnvVar
		want map[string]string
	}{
		"a literal expands a literal":          {map[string]scalerv1.EnvVar{"A": literal("a$(B)c"), "B": literal("b")}, map[string]string{"A": "abc", "B": "b"}},
		"a literal expands a reference":        {map[string]scalerv1.EnvVar{"URL": literal("u:$(PASSWORD)@h"), "PASSWORD": secret("s", "k")}, map[string]string{"URL": "u:hunter2@h", "PASSWORD": "hunter2"}},
		"an escape is no reference":            {map[string]scalerv1.EnvVar{"A": literal("$$(B)$$"), "B": literal("b")}, map[string]string{"A": "$(B)$", "B": "b"}},
		"a lone dollar stays":                  {map[string]scalerv1.EnvVar{"A": literal("$5 $(B $")}, map[string]string{"A": "$5 $(B $"}},
		"without its reference it is absent":   {map[string]scalerv1.EnvVar{"A": literal("x$(GONE)"), "B": secret("s", "k")}, map[string]string{}},
		"a circle has no value":                {map[string]scalerv1.EnvVar{"A": literal("$(B)"), "B": literal("$(A)"), "C": literal("c")}, map[string]string{"C": "c"}},
		"an empty literal is a literal":        {map[string]scalerv1.EnvVar{"A": literal("")}, map[string]string{"A": ""}},
		"names are not patterns":               {map[string]scalerv1.EnvVar{"A": literal("$()x")}, map[string]string{}},
		"text around several references stays": {map[string]scalerv1.EnvVar{"A": literal("<$(B)$(B)>"), "B": literal("b")}, map[string]string{"A": "<bb>", "B": "b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := scalerv1.ResolveEnv(tt.env, read); !maps.Equal(got, tt.want) {
				t.Errorf("resolved = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLiteralEnvReadsNothing(t *testing.T) {
	env := map[string]scalerv1.EnvVar{"HOST": literal("broker"), "PASSWORD": secret("s", "k"), "URL": literal("u:$(PASSWORD)@h")}
	if got, want := scalerv1.LiteralEnv(env), map[string]string{"HOST": "broker"}; !maps.Equal(got, want) {
		t.Errorf("literals = %v, want %v", got, want)
	}
}
