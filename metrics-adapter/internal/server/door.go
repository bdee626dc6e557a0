package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/endpoints/request"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/metrics"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
)

// What a question may be, before it is known whose it is. A path has a namespace
// and a name of a metric, of which one trigger has 4 KiB at most; the query has
// the name of an object; and the API server says in some headers for whom it asks.
const (
	longestPath   = 8 << 10
	longestQuery  = 2 << 10
	longestHeader = 16 << 10
	// mostRequests are worked on at once, mostRequestsOfOne of one address.
	// longestTurn is how long one waits for its turn.
	mostRequests, mostRequestsOfOne = 256, 128
	// mostRequestsOfNamespace are of one address for one namespace, which all come
	// from the same API servers: as many as are answered, and as many that wait.
	mostRequestsOfNamespace = 64
	longestTurn             = 5 * time.Second
	// mostStreams are the requests of one connection that have come and have no
	// answer. Who has more opens another connection.
	mostStreams = 32
)

// door stands before all that the API server's library does. The library reads
// what it is asked, makes series of it, and asks who the caller is, for as many as
// come.
func door(next http.Handler) http.Handler {
	gate := inbound.NewEntrance(mostRequests, mostRequestsOfOne, mostRequestsOfNamespace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code, problem := tooMuch(r); code != 0 {
			http.Error(w, problem, code)
			return
		}
		leave, ok := enter(r, gate)
		if !ok {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests at once", http.StatusTooManyRequests)
			return
		}
		defer leave()
		next.ServeHTTP(w, r)
	})
}

func enter(r *http.Request, gate *inbound.Entrance) (leave func(), ok bool) {
	ctx, cancel := context.WithTimeout(r.Context(), longestTurn)
	defer cancel()
	return gate.Enter(ctx, inbound.HostOf(r.RemoteAddr), namespaceOf(r.URL.Path))
}

// namespaceOf is the namespace that a path says, "" where it says none.
func namespaceOf(path string) string {
	_, after, _ := strings.Cut(path, "/namespaces/")
	namespace, _, _ := strings.Cut(after, "/")
	return namespace
}

// tooMuch is why a request is not looked at; 0 if it is.
func tooMuch(r *http.Request) (code int, problem string) {
	header := 0
	for name, values := range r.Header {
		for _, value := range values {
			header += len(name) + len(value)
		}
	}
	switch {
	case len(r.URL.Path) > longestPath || len(r.URL.RawPath) > longestPath:
		return http.StatusRequestURITooLong, fmt.Sprintf("the path has more than %d bytes", longestPath)
	case len(r.URL.RawQuery) > longestQuery:
		return http.StatusRequestURITooLong, fmt.Sprintf("the query, selectors included, has more than %d bytes", longestQuery)
	case header > longestHeader:
		return http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the header has more than %d bytes", longestHeader)
	case r.ContentLength != 0:
		return http.StatusRequestEntityTooLarge, "nothing here takes a body"
	}
	return 0, ""
}

// unselected leaves selectors out of what the API server is asked about a caller's
// rights: it would be asked anew for each, and each answer is kept by the selector.
type unselected struct{ request.RequestInfoResolver }

func (u unselected) NewRequestInfo(r *http.Request) (*request.RequestInfo, error) {
	info, err := u.RequestInfoResolver.NewRequestInfo(r)
	if info != nil {
		info.LabelSelector, info.FieldSelector = "", ""
	}
	return info, err
}

// few has the series of the library be few, whatever paths callers make up: it
// counts what ended early by the group, version, resource and path of the request,
// which are the caller's, before it knows who that is.
func few() {
	known := map[string]string{}
	for _, metric := range []string{
		"requested_deprecated_apis", "request_total", "longrunning_requests", "request_duration_seconds", "request_sli_duration_seconds",
		"response_sizes", "watch_events_total", "watch_events_sizes", "request_terminations_total", "selfrequest_total",
		"request_aborts_total", "watch_list_duration_seconds",
	} {
		for label, values := range map[string]string{
			"group": ",external.metrics.k8s.io", "version": ",v1beta1", "resource": ",*", "subresource": ",*,/livez,/readyz,/healthz,/metrics",
		} {
			known["apiserver_"+metric+","+label] = values
		}
	}
	metrics.SetLabelAllowList(known)
}

// guarded has the door stand before the library, and the library ask and count
// little.
func guarded(config *genericserver.Config) {
	few()
	config.RequestInfoResolver = unselected{genericserver.NewRequestInfoResolver(config)}
	chain, porch := config.BuildHandlerChainFunc, (*inbound.Porch)(nil)
	if config.SecureServing != nil {
		porch, _ = config.SecureServing.Listener.(*inbound.Porch)
	}
	config.BuildHandlerChainFunc = func(api http.Handler, c *genericserver.Config) http.Handler {
		return door(chain(recognised(porch, api), c))
	}
}

// recognised has connections count no more over which somebody asks for a metric
// who may: a flood of those who may not takes none of them away. It stands behind
// all questions about who asks, and what they may do.
func recognised(porch *inbound.Porch, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && porch != nil && info.IsResourceRequest && info.Namespace != "" {
			porch.Recognise(r.RemoteAddr)
		}
		api.ServeHTTP(w, r)
	})
}
