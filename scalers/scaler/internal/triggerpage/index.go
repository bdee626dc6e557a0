package triggerpage

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Index returns the page that leads to those of all trigger types, as Markdown.
func Index(families []*scalerv1.DescribeResponse) string {
	rows := map[string]string{} // by type
	for _, family := range families {
		for _, t := range family.GetTriggerTypes() {
			rows[t.GetType()] = fmt.Sprintf("| [%s](%s.md) | `%s` | %s |\n",
				t.GetType(), t.GetType(), family.GetFamily(), cell(t.GetPurpose()))
		}
	}
	var table strings.Builder
	for _, triggerType := range slices.Sorted(maps.Keys(rows)) {
		table.WriteString(rows[triggerType])
	}
	return before + table.String() + after
}

const before = `<!-- Generated from what the families say of themselves with --describe. -->

# Trigger types

| Type | Family | What it does |
| --- | --- | --- |
`

const after = `
` + "`cpu` and `memory`" + ` are built into the controller. A type of your own needs no page here: [write a scaler](../../proto/externalscaler/externalscaler.proto) and create the Service ` + "`scaler-<type>`" + ` for it.

Where a parameter comes from, as its table says:

- *metadata*: the trigger's ` + "`metadata`" + `.
- ` + "`<parameter>FromEnv`" + `: that key of the metadata names an environment variable of the scale target's container.
- *authentication*: a parameter of the TriggerAuthentication or ClusterTriggerAuthentication in the trigger's ` + "`authenticationRef`" + `.
`
