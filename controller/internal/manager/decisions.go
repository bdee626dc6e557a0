package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/internal/activation"
	"github.com/sluice-autoscaler/sluice/outbound"
)

const (
	decisionsPath = "/decisions"
	// leaderHeader names the controller that an answer is of. In a request it
	// says who was thought to lead: nobody passes it on once more.
	leaderHeader = "Sluice-Leader"
	// What the leader may take, and what of its answer is passed on.
	leaderTimeout    = 3 * time.Second
	longestDecisions = 1 << 20
)

// decisions serves what the controller decided about one object, in full: the
// status tells of it in short.
//
//	GET /decisions?namespace=shop&name=worker
//
// A standby decides nothing: it asks the leader, and names it.
type decisions struct {
	record func(types.NamespacedName) (activation.Record, bool)
	leads  func() bool
	// leader finds who leads; its address has the port of /decisions.
	leader func(context.Context) (name, address string, err error)
	client *http.Client
}

// replicas returns the client for one replica of the controller by another.
func replicas() *http.Client {
	pool := outbound.NewTransport(outbound.DialReplica, nil)
	pool.Proxy = nil
	return outbound.Client(pool, outbound.Stay, leaderTimeout)
}

// ServeHTTP implements http.Handler.
func (d decisions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := types.NamespacedName{Namespace: r.URL.Query().Get("namespace"), Name: r.URL.Query().Get("name")}
	if key.Namespace == "" || key.Name == "" {
		http.Error(w, "namespace and name are required", http.StatusBadRequest)
		return
	}
	switch expected := r.Header.Get(leaderHeader); {
	case d.leads():
		d.answer(w, key)
	case expected != "":
		http.Error(w, expected+" does not lead any more", http.StatusServiceUnavailable)
	default:
		d.pass(w, r)
	}
}

func (d decisions) answer(w http.ResponseWriter, key types.NamespacedName) {
	record, ok := d.record(key)
	if !ok {
		http.Error(w, "nothing was decided yet about ScaledObject "+key.String(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(record) // the client went away: nobody is left to tell
}

// pass asks the leader in the place of whoever asked a standby.
func (d decisions) pass(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), leaderTimeout)
	defer cancel()
	name, address, err := d.leader(ctx)
	if name != "" {
		w.Header().Set(leaderHeader, name)
	}
	var answer *http.Response
	if err == nil {
		answer, err = d.ask(ctx, name, address, r.URL.RawQuery)
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("this controller does not lead; the leader, %q, could not be asked: %v", name, err), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(answer.Body, longestDecisions)) // as above
}

func (d decisions) ask(ctx context.Context, name, address, query string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+decisionsPath+"?"+query, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set(leaderHeader, name)
	return d.client.Do(request)
}

// leaderOf finds the holder of the lease: its identity begins with the Pod's
// name, and the webhook's Service has the Pod's address.
func leaderOf(clientset kubernetes.Interface, o Options) func(context.Context) (name, address string, err error) {
	return func(ctx context.Context) (name, address string, err error) {
		lease, err := clientset.CoordinationV1().Leases(o.Namespace).Get(ctx, o.LeaderElectionID, metav1.GetOptions{})
		if err != nil {
			return "", "", err
		}
		name, _, _ = strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
		if name == "" {
			return "", "", errors.New("nobody holds the lease")
		}
		_, port, err := net.SplitHostPort(o.MetricsAddress)
		if err != nil {
			return name, "", err
		}
		slices, err := clientset.DiscoveryV1().EndpointSlices(o.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return name, "", err
		}
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				if pod := endpoint.TargetRef; pod != nil && pod.Kind == "Pod" && pod.Name == name && len(endpoint.Addresses) > 0 {
					return name, net.JoinHostPort(endpoint.Addresses[0], port), nil
				}
			}
		}
		return name, "", errors.New("no Service has its address")
	}
}
