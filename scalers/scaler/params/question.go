package params

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/fingerprint"
)

// Question returns the same short text for two triggers exactly when they may
// share a Source: when type and question parameters are equal after defaults,
// credentials by their content and by where they may be sent. It cannot be
// turned back.
func (p *Plan) Question(triggerType string, params reflect.Value, hosts []string) string {
	asked := []string{triggerType}
	for _, f := range p.fields {
		if f.question {
			asked = append(asked, f.name+"="+fingerprint.Text(params.FieldByIndex(f.index)))
		}
	}
	slices.Sort(asked[1:])
	if p.identity != nil && p.asksID {
		asked = append(asked, fingerprint.Text(params.FieldByIndex(p.identity)))
	}
	if p.object != nil {
		switch object := params.FieldByIndex(p.object); p.asksObject {
		case "true":
			asked = append(asked, fingerprint.Text(object))
		case "namespace":
			asked = append(asked, fingerprint.Text(object.FieldByName("Namespace")))
		}
	}
	if hosts != nil {
		asked = append(asked, fmt.Sprintf("%q", hosts))
	}
	return fingerprint.Of(strings.Join(asked, "\n"))
}
