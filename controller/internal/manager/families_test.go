package manager

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// TestFamiliesAreTold: by whichever controller is asked, and its clock and version
// with them.
func TestFamiliesAreTold(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	recorder := httptest.NewRecorder()
	families{
		survey: func() []federation.Surveyed {
			return []federation.Surveyed{{Type: "kafka", Family: "kafka", Triggers: 3}}
		},
		version: "v1.2.3", now: func() time.Time { return noon },
	}.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, account.FamiliesPath, nil))
	var told account.Families
	if err := json.Unmarshal(recorder.Body.Bytes(), &told); err != nil {
		t.Fatal(err)
	}
	if !told.Now.Equal(noon) || told.Version != "v1.2.3" || len(told.Types) != 1 || told.Types[0].Triggers != 3 {
		t.Errorf("%+v", told)
	}
}
