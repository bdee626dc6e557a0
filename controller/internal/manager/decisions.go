package manager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/account"
)

// decisions serves what the controller decided about one object, in full: the
// status tells of it in short.
//
//	GET /decisions?kind=ScaledJob&namespace=shop&name=worker
//
// It has readings of every namespace, so it answers on the loopback device of
// its Pod alone: to whoever may forward ports of the installation's Pods. A
// standby decides nothing, and names who does.
type decisions struct {
	// accounts are those of objects, by their kind.
	accounts map[string]func(types.NamespacedName) (account.Account, bool)
	leads    func() bool
	// leader finds who leads.
	leader func(context.Context) (name string, err error)
	now    func() time.Time
}

// ServeHTTP implements http.Handler.
func (d decisions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	key := types.NamespacedName{Namespace: query.Get("namespace"), Name: query.Get("name")}
	kind := cmp.Or(query.Get("kind"), account.ScaledObject)
	switch {
	case !fromLoopback(r):
		http.Error(w, "decisions are told over kubectl port-forward alone", http.StatusForbidden)
	case key.Namespace == "" || key.Name == "":
		http.Error(w, "namespace and name are required", http.StatusBadRequest)
	case d.accounts[kind] == nil:
		http.Error(w, "kind: it is neither ScaledObject nor ScaledJob", http.StatusBadRequest)
	case d.leads():
		d.answer(w, kind, key)
	default:
		d.refer(w, r)
	}
}

func fromLoopback(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

func (d decisions) answer(w http.ResponseWriter, kind string, key types.NamespacedName) {
	told, ok := d.accounts[kind](key)
	if !ok {
		http.Error(w, "nothing was decided yet about "+kind+" "+key.String(), http.StatusNotFound)
		return
	}
	told.Now = d.now()
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(told) // the client went away: nobody is left to tell
}

// refer says who can be asked in the place of a standby.
func (d decisions) refer(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), leaderTimeout)
	defer cancel()
	name, err := d.leader(ctx)
	if err != nil {
		http.Error(w, fmt.Sprintf("this controller does not lead, and who does is not known: %v", err), http.StatusBadGateway)
		return
	}
	w.Header().Set(account.LeaderHeader, name)
	http.Error(w, "this controller does not lead: ask "+name, http.StatusMisdirectedRequest)
}

// leaderTimeout is how long the lease may take to be read.
const leaderTimeout = 3 * time.Second

// leaderOf finds the holder of the lease, whose identity begins with the Pod's
// name.
func leaderOf(clientset kubernetes.Interface, o Options) func(context.Context) (name string, err error) {
	return func(ctx context.Context) (name string, err error) {
		lease, err := clientset.CoordinationV1().Leases(o.Namespace).Get(ctx, o.LeaderElectionID, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		name, _, _ = strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
		if name == "" {
			return "", errors.New("nobody holds the lease")
		}
		return name, nil
	}
}
