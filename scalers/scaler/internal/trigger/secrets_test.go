package trigger

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// TestSecretsWithinValuesAreFew: all of them are kept beside the value, however
// short they are.
func TestSecretsWithinValuesAreFew(t *testing.T) {
	values := map[string]string{}
	for i := range 16 {
		var text strings.Builder
		for n := range 6_000 {
			fmt.Fprintf(&text, "key=%%%05d;", n)
		}
		values[fmt.Sprintf("parameter%d", i)] = text.String()
	}
	secrets := Trigger{}.Secrets(&contract.Credentials{Parameters: values})
	if most := 3 * (mostParts + len(values)); len(secrets) > most || cap(secrets) > 2*most {
		t.Errorf("%d are kept, with room for %d", len(secrets), cap(secrets))
	}
	secrets = Trigger{}.Secrets(&contract.Credentials{Parameters: map[string]string{"connection": "Endpoint=sb://x/;SharedAccessKey=swordfish"}})
	if !slices.Contains(secrets, "swordfish") {
		t.Errorf("%q lacks the key", secrets)
	}
}
