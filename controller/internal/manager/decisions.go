package manager

import (
	"encoding/json"
	"net/http"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/internal/activation"
)

// decisions serves what the controller decided about one object, in full: the
// status tells of it in short.
//
//	GET /decisions?namespace=shop&name=worker
//
// A standby decides nothing and has nothing to tell.
func decisions(loop *activation.Loop) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := types.NamespacedName{Namespace: r.URL.Query().Get("namespace"), Name: r.URL.Query().Get("name")}
		if key.Namespace == "" || key.Name == "" {
			http.Error(w, "namespace and name are required", http.StatusBadRequest)
			return
		}
		record, ok := loop.Record(key)
		if !ok {
			http.Error(w, "nothing was decided here about ScaledObject "+key.String(), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(record) // the client went away: nobody is left to tell
	})
}
