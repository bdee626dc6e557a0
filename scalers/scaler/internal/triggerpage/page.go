// Package triggerpage writes the reference page of a trigger type from its
// description.
package triggerpage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Render returns the page of a trigger type as Markdown. example is a manifest,
// or empty.
func Render(family string, t *scalerv1.TriggerType, example string) string {
	var page strings.Builder
	fmt.Fprintf(&page, "<!-- Generated from `Describe` of the family %s. Change the doc comments there. -->\n\n", family)
	fmt.Fprintf(&page, "# %s\n\n%s\n\n", t.GetType(), cmp.Or(t.GetPurpose(), "A trigger type."))
	fmt.Fprintf(&page, "Family `%s`, found as the Service `scaler-%s`.\n\n", family, t.GetType())
	if example != "" {
		fmt.Fprintf(&page, "## Example\n\n```yaml\n%s\n```\n\n%s\n\n", strings.TrimSpace(example), needs(family, example))
	}
	fmt.Fprintf(&page, "## How work is noticed\n\n%s\n\n", detection(t))
	fmt.Fprint(&page, "## Parameters\n\n")
	page.WriteString(parameters(t.GetParameters()))
	if t.GetAcceptsOtherParameters() {
		fmt.Fprint(&page, "\nAll other keys are passed on to the source.\n")
	}
	return page.String()
}

// clouds are the places of docs/clouds.md, by the provider of an identity.
var clouds = []struct{ provider, link string }{
	{"provider: aws", "[AWS](../clouds.md#aws)"},
	{"provider: azure-workload", "[Azure](../clouds.md#azure)"},
	{"provider: gcp", "[Google Cloud](../clouds.md#google-cloud)"},
}

// needs says what an example takes to work.
func needs(family, example string) string {
	text := "The Deployment and the source must be there"
	for _, c := range clouds {
		if strings.Contains(example, c.provider) {
			text += fmt.Sprintf(", and %s must trust the ServiceAccount `scaler-%s` in `sluice-system` and let it read the source", c.link, family)
		}
	}
	role := ""
	switch {
	case strings.Contains(example, "secretTargetRef"), strings.Contains(example, "configMapTargetRef"):
		text += ", and the family must be let read what the TriggerAuthentication names"
		role = "sluice-scaler-credentials"
	case family == "kubernetes":
		text += ", and the family must be let see the objects of the namespace"
		role = "sluice-scaler-" + family
	}
	if role == "" {
		return text + "."
	}
	return fmt.Sprintf("%s:\n\n```sh\nkubectl create rolebinding %s -n <namespace> --clusterrole=%s --serviceaccount=sluice-system:scaler-%s\n```",
		text, strings.Replace(role, "sluice-scaler-credentials", "scaler-"+family, 1), role, family)
}

func detection(t *scalerv1.TriggerType) string {
	switch t.GetDetection() {
	case scalerv1.Detection_DETECTION_DOORBELL:
		text := "The source rings when work arrives, and is read at once; it is also read every `pollingInterval`."
		if cost := t.GetDetectionCost(); cost != "" {
			text += " What ringing takes: " + strings.TrimSuffix(cost, ".") + "."
		}
		return text
	case scalerv1.Detection_DETECTION_TIMER:
		return "Changes are known in advance and take effect when they are due."
	default:
		return "The source is read every `pollingInterval`."
	}
}

func parameters(list []*scalerv1.Parameter) string {
	if len(list) == 0 {
		return "None.\n"
	}
	var table strings.Builder
	table.WriteString("| Parameter | Where from | Value | Default | Meaning |\n| --- | --- | --- | --- | --- |\n")
	for _, p := range requiredFirst(list) {
		row := []string{name(p), sources(p), value(p), standard(p), meaning(p)}
		for i := range row {
			row[i] = cell(row[i])
		}
		table.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	return table.String()
}

// requiredFirst keeps the order within what is required and what is not.
func requiredFirst(list []*scalerv1.Parameter) []*scalerv1.Parameter {
	return slices.SortedStableFunc(slices.Values(list), func(a, b *scalerv1.Parameter) int {
		switch {
		case a.GetRequired() == b.GetRequired():
			return 0
		case a.GetRequired():
			return -1
		default:
			return 1
		}
	})
}

func name(p *scalerv1.Parameter) string {
	text := code(p.GetName())
	if len(p.GetAliases()) > 0 {
		text += ", also " + codes(p.GetAliases())
	}
	return text
}

func sources(p *scalerv1.Parameter) string {
	places := make([]string, len(p.GetSources()))
	for i, source := range p.GetSources() {
		switch source {
		case scalerv1.ValueSource_VALUE_SOURCE_ENV:
			places[i] = code(scalerv1.EnvKey(p.GetName()))
		case scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION:
			places[i] = "authentication"
		default:
			places[i] = "metadata"
		}
	}
	return strings.Join(places, ", then ")
}

// types are the words for what values look like.
var types = map[scalerv1.ValueType]string{
	scalerv1.ValueType_VALUE_TYPE_STRING:       "text",
	scalerv1.ValueType_VALUE_TYPE_INTEGER:      "integer",
	scalerv1.ValueType_VALUE_TYPE_FLOAT:        "number",
	scalerv1.ValueType_VALUE_TYPE_BOOL:         "`true` or `false`",
	scalerv1.ValueType_VALUE_TYPE_DURATION:     "duration such as `30s`, or milliseconds",
	scalerv1.ValueType_VALUE_TYPE_STRING_LIST:  "list",
	scalerv1.ValueType_VALUE_TYPE_INTEGER_LIST: "integers such as `1,5-9`",
	scalerv1.ValueType_VALUE_TYPE_MAP:          "pairs such as `k=v,k=v`",
	scalerv1.ValueType_VALUE_TYPE_QUERY:        "URL query",
}

func value(p *scalerv1.Parameter) string {
	text := types[p.GetType()]
	if unit := p.GetUnit(); unit != "" {
		text += " of " + unit
	}
	if allowed := p.GetAllowedValues(); len(allowed) > 0 {
		text = codes(allowed)
		if p.GetType() == scalerv1.ValueType_VALUE_TYPE_STRING_LIST {
			text = "list of " + text
		}
	}
	return text
}

func standard(p *scalerv1.Parameter) string {
	switch {
	case p.GetRequired():
		return "**required**"
	case p.GetDefaultValue() != "":
		return code(p.GetDefaultValue())
	default:
		return ""
	}
}

func meaning(p *scalerv1.Parameter) string {
	text := p.GetDescription()
	switch role := p.GetRole(); {
	case role == scalerv1.ParameterRole_PARAMETER_ROLE_TARGET && !strings.HasPrefix(text, "The target"):
		text = "*Target.* " + text
	case role == scalerv1.ParameterRole_PARAMETER_ROLE_ACTIVATION && !strings.HasPrefix(text, "The activation"):
		text = "*Activation threshold.* " + text
	}
	if why := p.GetDeprecated(); why != "" {
		text += " **Deprecated:** " + why + "."
	}
	return text
}

func code(text string) string { return "`" + text + "`" }

func codes(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = code(text)
	}
	return strings.Join(quoted, ", ")
}

// cell keeps a text within its cell.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}
