package trigger

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// TestWhatIsKeptOfSecretsIsLittle: all triggers of a namespace may have much of
// them, in signs that addresses and quotes spell at several times their length.
func TestWhatIsKeptOfSecretsIsLittle(t *testing.T) {
	value := "a://u:" + strings.Repeat("%", 60_000) + "@key=" + strings.Repeat("%", 1_000)
	bytes := 0
	for _, secret := range (Trigger{}).Secrets(Request{}, &contract.Credentials{Parameters: map[string]string{"connection": value}}) {
		bytes += len(secret)
	}
	if bytes > 4*len(value) {
		t.Errorf("of %d bytes %d are kept", len(value), bytes)
	}
}

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
	secrets := Trigger{}.Secrets(Request{}, &contract.Credentials{Parameters: values})
	if most := 3 * (mostParts + len(values)); len(secrets) > most || cap(secrets) > 2*most {
		t.Errorf("%d are kept, with room for %d", len(secrets), cap(secrets))
	}
	secrets = Trigger{}.Secrets(Request{}, &contract.Credentials{Parameters: map[string]string{"connection": "Endpoint=sb://x/;SharedAccessKey=swordfish"}})
	if !slices.Contains(secrets, "swordfish") {
		t.Errorf("%q lacks the key", secrets)
	}
}
