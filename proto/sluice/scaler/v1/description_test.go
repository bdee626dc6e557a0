package scalerv1

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNearest(t *testing.T) {
	candidates := []string{"queueLength", "queueName", "host"}
	for word, want := range map[string]string{
		"queueLength":  "queueLength",
		"queueLenght":  "queueLength",
		"QUEUENAME":    "queueName",
		"queue":        "",
		"hst":          "",
		"hosts":        "host",
		"hots":         "host",
		"":             "",
		"somethingNew": "",
	} {
		if got := Nearest(word, candidates); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestUnknown(t *testing.T) {
	described := &TriggerType{Parameters: []*Parameter{
		{Name: "host", Aliases: []string{"address"}, Sources: []ValueSource{ValueSource_VALUE_SOURCE_TRIGGER, ValueSource_VALUE_SOURCE_ENV}},
		{Name: "password", Sources: []ValueSource{ValueSource_VALUE_SOURCE_AUTHENTICATION}},
		{Name: "keyFromEnvFile", Sources: []ValueSource{ValueSource_VALUE_SOURCE_ENV}},
	}}
	metadata := map[string]string{
		"host": "h", "address": "h", "hostFromEnv": "HOST", "hots": "h", "password": "hunter2", "passwordFromEnv": "P", "x": "y", "keyFromEnvFile": "FILE", KeyMode: "idle",
	}
	want := []string{
		"hots: unknown parameter, did you mean host?",
		"password: ignored, password is only read from authentication",
		"passwordFromEnv: ignored, password is only read from authentication",
		"x: unknown parameter",
	}
	if got := described.Unknown(metadata); !slices.Equal(got, want) {
		t.Errorf("Unknown = %q, want %q", got, want)
	}
	described.AcceptsOtherParameters = true
	if got := described.Unknown(metadata); got != nil {
		t.Errorf("a type that passes everything on calls %q unknown", got)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "1500": 1500 * time.Millisecond, "0": 0, "1m30s": 90 * time.Second, "-0": 0,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"-1s":                  `"-1s" is negative`,
		"-5":                   `"-5" is negative`,
		"-9223372036854775808": `"-9223372036854775808" is out of range`,
		"9223372036854775807":  `"9223372036854775807" is out of range`,
		"soon":                 `"soon" is neither a duration such as 30s nor a number of milliseconds`,
	} {
		if _, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("ParseDuration(%q) = %v, want %s", text, err, want)
		}
	}
}

func TestCheckQuantity(t *testing.T) {
	for _, text := range []string{"500m", "2Gi", "1e-9", "1E999", "-0.5", "12Ei", "deadbeef", ""} {
		if err := CheckQuantity(text); err != nil {
			t.Errorf("CheckQuantity(%q) = %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"1e-999999999":            `"1e-999999999" is out of range`,
		"1E1000":                  `"1E1000" is out of range`,
		strings.Repeat("9", 100):  `"` + strings.Repeat("9", 64) + `..." is out of range`,
		strings.Repeat("ä", 1000): `"` + strings.Repeat("ä", 32) + `..." is out of range`,
	} {
		if err := CheckQuantity(text); err == nil || err.Error() != want {
			t.Errorf("CheckQuantity of %d bytes = %v, want %s", len(text), err, want)
		}
	}
}

// Both words may be somebody's who means harm: what is no slip is not compared.
func TestLongWordsAreNoWork(t *testing.T) {
	var candidates []string
	for range 100 {
		candidates = append(candidates, "bootstrapServers")
	}
	word := strings.Repeat("k", 60_000)
	if n := testing.AllocsPerRun(1, func() {
		if near := Nearest(word, candidates); near != "" {
			t.Errorf("near %s", near)
		}
	}); n > 1000 {
		t.Errorf("%v allocations", n)
	}
}

// Of very many unknown keys all are named, and the first are held against what
// may have been meant.
func TestVeryManyUnknownKeys(t *testing.T) {
	described := &TriggerType{Parameters: []*Parameter{{Name: "queueLength", Sources: []ValueSource{ValueSource_VALUE_SOURCE_TRIGGER}}}}
	metadata := map[string]string{}
	for i := range 100 {
		metadata[fmt.Sprintf("queueLengt%03d", i)] = "x"
	}
	meant := 0
	sentences := described.Unknown(metadata)
	for _, s := range sentences {
		if strings.HasSuffix(s, "unknown parameter, did you mean queueLength?") {
			meant++
		} else if !strings.HasSuffix(s, ": unknown parameter") {
			t.Errorf("it says %s", s)
		}
	}
	if len(sentences) != 100 || meant != mostMeant {
		t.Errorf("%d sentences, %d with what was meant", len(sentences), meant)
	}
}

// What is not near is given up early, and what is near is as far as it is.
func TestSlipsAreCountedUpToABound(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		text := make([]byte, random.IntN(9))
		for i := range text {
			text[i] = "abc"[random.IntN(3)]
		}
		return string(text)
	}
	for range 20_000 {
		a, b, most := word(), word(), random.IntN(8)
		whole := slips(a, b, 100)
		if got := slips(a, b, most); min(got, most) != min(whole, most) {
			t.Fatalf("from %q to %q are %d slips, up to %d: %d", a, b, whole, most, got)
		}
	}
}
