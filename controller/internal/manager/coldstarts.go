package manager

import (
	"encoding/json"
	"net/http"

	"github.com/sluice-autoscaler/sluice/controller/account"
)

// coldStarts serves what work waited for at the last wake of each object. A standby
// measures none, and names who does.
type coldStarts struct {
	decisions
	measured func() []account.ObjectColdStart
}

// ServeHTTP implements http.Handler.
func (c coldStarts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.leads() {
		c.refer(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(account.ColdStarts{Now: c.now(), Objects: c.measured()}) // the client went away: nobody is left to tell
}
