package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// monitoring is the monitoring endpoint of a server, or of the servers of a
// cluster.
type monitoring struct {
	client *client.HTTPClient
	base   *url.URL

	mu         sync.Mutex
	servers    []server // of a cluster, as found last; none for a single server
	discovered time.Time
}

const (
	// soonest is how long a cluster is left alone after it was looked at, whoever
	// is missing: servers that answer at once must not have us ask others all the
	// time.
	soonest = 5 * time.Second
	// rediscover is after how long a cluster is looked at anew for what none of
	// its known servers has.
	rediscover = time.Minute
	// mostServers is how many servers of a cluster are asked.
	mostServers = 32
)

// server is one of a cluster.
type server struct {
	name string   // that leaders are called by
	id   string   // another one after each start; "" where it does not say
	base *url.URL // of its monitoring port
}

// shareMonitoring returns the one for an endpoint.
func shareMonitoring(ctx context.Context, base *url.URL) (*monitoring, error) {
	return client.Shared(ctx, base.String(), func(ctx context.Context) (*monitoring, error) {
		c, err := client.HTTP(ctx, client.HTTPOptions{})
		return &monitoring{client: c, base: base}, err
	})
}

// known are the servers of the cluster as they were found last, and how long ago.
func (m *monitoring) known() (servers []server, age time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.servers, time.Since(m.discovered)
}

// get hands the answer to a request to use, which works on it in turn with others
// and says whether it is one. Only status 200 is.
//
// Source: https://docs.nats.io/running-a-nats-service/nats_admin/monitoring
func (m *monitoring) get(ctx context.Context, base *url.URL, page string, query url.Values, use func(turn func() error, body []byte) (ok bool, err error)) error {
	address := base.JoinPath(page)
	name := "GET " + address.String()
	address.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return errEndpoint
	}
	ctx, release := client.Held(ctx)
	defer release()
	got, err := m.client.Do(request.WithContext(ctx))
	if err != nil {
		return err
	}
	ok := got.Status == http.StatusOK
	if ok {
		ok, err = client.Understand(ctx, got.Body, func(turn func() error) (bool, error) { return use(turn, got.Body) })
	}
	if err == nil && !ok {
		return scaler.Errorf(codes.Unavailable, "%s: the answer is not one of a NATS server", name)
	}
	return err
}

// varz is what a server says of itself.
type varz struct {
	ID      string    `json:"server_id"`
	Name    string    `json:"server_name"`
	Clients addresses `json:"connect_urls"`
	Cluster struct {
		Routes addresses `json:"urls"`
	} `json:"cluster"`
}

// addresses are the first ones of a list.
type addresses struct {
	first []string
	turn  func() error
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *addresses) UnmarshalJSON(text []byte) error {
	return client.EachElement(a.turn, text, "", func(address string) {
		if len(a.first) < mostServers {
			a.first = append(a.first, address)
		}
	})
}

func (m *monitoring) varz(ctx context.Context, base *url.URL) (varz, error) {
	var v varz
	err := m.get(ctx, base, "varz", nil, func(turn func() error, body []byte) (bool, error) {
		v.Clients.turn, v.Cluster.Routes.turn = turn, turn
		return json.Unmarshal(body, &v) == nil && len(v.ID) <= longestName && len(v.Name) <= longestName && (v.ID == "" || !isNoName(v.ID)) && !isNoName(v.Name), nil
	})
	return v, err
}

// others are where the servers may be that one knows of: where clients connect
// to, with the port of the endpoint. Where that is not advertised, the endpoint
// is taken for the domain of their names, as a headless Service's is.
func (m *monitoring) others(v varz) []*url.URL {
	var bases []*url.URL
	for _, address := range v.Clients.first {
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
			bases = append(bases, m.at(host))
		}
	}
	if len(v.Clients.first) > 0 {
		return bases
	}
	for _, address := range v.Cluster.Routes.first {
		host, _, err := net.SplitHostPort(address)
		switch {
		case err != nil || host == "":
		case net.ParseIP(host) != nil:
			bases = append(bases, m.at(host))
		default:
			name, _, _ := strings.Cut(host, ".")
			bases = append(bases, m.at(name+"."+m.base.Hostname()))
		}
	}
	return bases
}

// at is the endpoint at another host.
func (m *monitoring) at(host string) *url.URL {
	base := *m.base
	switch port := m.base.Port(); {
	case port != "":
		base.Host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		base.Host = "[" + host + "]"
	default:
		base.Host = host
	}
	return &base
}

// found is what a server answered that was asked who it is.
type found struct {
	base *url.URL
	varz
	err error
}

// discover looks for the servers of the cluster, at the endpoint and where they
// were before. One that does not answer is left out, as long as another does.
func (m *monitoring) discover(ctx context.Context) ([]server, error) {
	starts := []*url.URL{m.base}
	known, age := m.known()
	if len(known) > 0 && age < soonest {
		return known, nil
	}
	for _, s := range known {
		starts = append(starts, s.base)
	}
	first := m.askAll(ctx, unique(starts))
	var bases []*url.URL
	var failed error
	answered := false
	for _, f := range first {
		answered = answered || f.err == nil
		if failed == nil {
			failed = f.err
		}
		bases = append(bases, m.others(f.varz)...)
	}
	if !answered {
		return nil, failed
	}
	bases = slices.DeleteFunc(unique(bases), func(base *url.URL) bool {
		return slices.ContainsFunc(first, func(f found) bool { return *f.base == *base })
	})
	servers := named(append(m.askAll(ctx, bases), reversed(first)...))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.servers, m.discovered = servers, time.Now()
	return servers, nil
}

// reversed has the endpoint last: a Service leads to another server each time.
func reversed(all []found) []found {
	all = slices.Clone(all)
	slices.Reverse(all)
	return all
}

// named are the servers that answered, each once.
func named(all []found) []server {
	var servers []server
	for _, f := range all {
		known := slices.ContainsFunc(servers, func(s server) bool { return s.name == f.Name })
		if f.err == nil && !known {
			servers = append(servers, server{name: f.Name, id: f.ID, base: f.base})
		}
	}
	return servers
}

// unique are the first of those that differ.
func unique(bases []*url.URL) []*url.URL {
	var some []*url.URL
	for _, base := range bases {
		if len(some) < mostServers && !slices.ContainsFunc(some, func(have *url.URL) bool { return *have == *base }) {
			some = append(some, base)
		}
	}
	return some
}

// serversAtOnce bounds how many are asked together who they are.
const serversAtOnce = 8

// askAll asks who is there, side by side, and gives none more than a third of
// the time that is left.
func (m *monitoring) askAll(ctx context.Context, bases []*url.URL) []found {
	ctx, cancel := part(ctx, 3)
	defer cancel()
	all := make([]found, len(bases))
	asking := scaler.NewGroup(serversAtOnce)
	for i, base := range bases {
		all[i] = found{base: base, err: scaler.Errorf(codes.Internal, "does not say who it is")}
		asking.Go("asking "+base.Host, func() {
			v, err := m.varz(ctx, base)
			all[i] = found{base, v, err}
		})
	}
	_ = asking.Wait() // who has not answered is not there
	return all
}
