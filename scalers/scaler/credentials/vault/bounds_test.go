package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/scopetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
)

// TestAValueInManyParametersIsBounded has a server that answers one list, which
// becomes the text of each of many parameters.
func TestAValueInManyParametersIsBounded(t *testing.T) {
	half := strings.Repeat("x", 250_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"data":{"k":[%q,%q]}}`, half, half)
	}))
	defer server.Close()
	var secrets []string
	for i := range 100 {
		secrets = append(secrets, fmt.Sprintf(`{"parameter":"p%d","path":"a","key":"k"}`, i))
	}
	block := fmt.Sprintf(`{"address":%q,"authentication":"token","credential":{"token":"t"},"secrets":[%s]}`, server.URL, strings.Join(secrets, ","))
	before := boundtest.Allocated()
	_, err := Store{HTTP: func() (*http.Client, error) { return server.Client(), nil }}.Read(context.Background(), json.RawMessage(block), scopetest.Scope{})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "with parameter p2 all values together have more than 1048576 bytes") {
		t.Errorf("error = %.300v", err)
	}
	if took := boundtest.Allocated() - before; took > 20*store.MostBytes {
		t.Errorf("%d bytes were taken", took)
	}
}
