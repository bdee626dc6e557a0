package manager

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/account"
)

// TestColdStartsAreThoseOfTheLeader: a standby names who leads, and nobody but the
// loopback device is told.
func TestColdStartsAreThoseOfTheLeader(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		from   string
		leads  bool
		status int
	}{
		"the leader":  {"127.0.0.1:40000", true, http.StatusOK},
		"a standby":   {"127.0.0.1:40000", false, http.StatusMisdirectedRequest},
		"another Pod": {"10.0.0.1:40000", true, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, account.ColdStartsPath, nil)
			request.RemoteAddr = tt.from
			recorder := httptest.NewRecorder()
			fromInside(coldStarts{
				decisions{
					leads: func() bool { return tt.leads }, now: func() time.Time { return noon },
					leader: func(context.Context) (string, error) { return "controller-a", nil },
				},
				func() []account.ObjectColdStart {
					return []account.ObjectColdStart{{Namespace: "shop", Name: "orders", ColdStart: account.ColdStart{Seconds: 9, Told: true}}}
				},
			}).ServeHTTP(recorder, request)
			if recorder.Code != tt.status {
				t.Fatalf("%d: %s", recorder.Code, recorder.Body)
			}
			if tt.status == http.StatusMisdirectedRequest && recorder.Header().Get(account.LeaderHeader) != "controller-a" {
				t.Errorf("%v", recorder.Header())
			}
			if tt.status != http.StatusOK {
				return
			}
			var told account.ColdStarts
			if err := json.Unmarshal(recorder.Body.Bytes(), &told); err != nil {
				t.Fatal(err)
			}
			if !told.Now.Equal(noon) || len(told.Objects) != 1 || told.Objects[0].Name != "orders" || told.Objects[0].ColdStart.Seconds != 9 {
				t.Errorf("%+v", told)
			}
		})
	}
}
