package trigger

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// shortestSecret is the length from which a credential is looked for in
// errors; shorter ones, such as "true", are words of ordinary sentences.
const shortestSecret = 5

// mostParts is how many secrets are looked for within the values of a trigger:
// far more than connection strings have. They are kept as long as the trigger.
const mostParts = 1000

// Secrets lists what must not be shown of a request and its credentials, the
// longest first: every value, and what is secret within addresses and connection
// strings. A value that a parameter of the type enumerates is nobody's secret,
// and may be a part of the parameter's name.
func (t Trigger) Secrets(r Request, c *contract.Credentials) []string {
	if c == nil {
		if len(r.values) == 0 {
			return nil
		}
		c = &contract.Credentials{}
	}
	var secrets []string
	add := func(texts ...string) {
		for _, text := range texts {
			text = strings.TrimSpace(text)
			if len(text) >= shortestSecret && !t.enumerates(text) {
				secrets = append(secrets, text)
			}
		}
	}
	parts := 0
	for _, values := range []map[string]string{c.Parameters, c.Env, r.values} {
		for _, value := range values {
			add(value)
			found := within(value, mostParts-parts)
			parts += len(found)
			add(found...)
		}
	}
	slices.SortFunc(secrets, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return slices.Clip(slices.Compact(secrets))
}

// enumerates is true for a value that a parameter of the type lists.
func (t Trigger) enumerates(value string) bool {
	return slices.ContainsFunc(t.description.GetParameters(), func(p *scalerv1.Parameter) bool {
		return slices.Contains(p.GetAllowedValues(), value)
	})
}

// secretPart finds secrets in a connection string such as
// "Endpoint=...;SharedAccessKey=...".
var secretPart = regexp.MustCompile(`(?i)(?:key|password|pwd|secret|token|signature|sig)=([^;& ]+)`)

// within are the secrets that are part of a value, up to most.
func within(value string, most int) []string {
	if most <= 0 {
		return nil
	}
	var parts []string
	if _, rest, ok := strings.Cut(value, "://"); ok && strings.Contains(rest, "@") {
		_, raw, _ := strings.Cut(rest[:strings.LastIndex(rest, "@")], ":")
		parts = append(parts, raw)
		if plain, err := url.PathUnescape(raw); err == nil {
			parts = append(parts, plain)
		}
	}
	for _, found := range secretPart.FindAllStringSubmatch(value, most) {
		parts = append(parts, found[1])
	}
	return parts
}
