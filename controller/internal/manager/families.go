package manager

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// families serves what the controller knows of the families of its installation.
// Who does not lead knows the same.
type families struct {
	survey  func() []federation.Surveyed
	version string
	now     func() time.Time
}

// ServeHTTP implements http.Handler.
func (f families) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(account.Families{Now: f.now(), Version: f.version, Types: f.survey()}) // the client went away: nobody is left to tell
}
