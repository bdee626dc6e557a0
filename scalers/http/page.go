package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/document"
)

// endpointsAtOnce is how many endpoints of one Service are asked together.
const endpointsAtOnce = 5

// server is one host as one identity. Its limit holds for all of its pages.
type server struct {
	host   string // with scheme
	client *client.HTTPClient
	places *client.Places
}

// client authenticates in every mode that is asked for. Tokens are fetched
// without the other credentials.
func (p metricsAPIParams) client(ctx context.Context) (*client.HTTPClient, error) {
	options := client.HTTPOptions{TLS: p.TLS(), UnsafeSSL: p.UnsafeSSL, Timeout: p.Timeout}
	plain, err := client.HTTP(ctx, options)
	if err != nil {
		return nil, err
	}
	options.Authorize = p.Authorize(plain)
	return client.HTTP(ctx, options)
}

// answer is what a server said. It is understood once for all who look into it.
type answer struct {
	format   string
	body     []byte
	err      error
	document func() (document.Document, error)
}

func newAnswer(ctx context.Context, format string, body []byte, err error) *answer {
	return &answer{format, body, err, sync.OnceValues(func() (document.Document, error) {
		return document.Parse(ctx, format, body)
	})}
}

// within is the document, if it has no more bytes than that.
func (a *answer) within(most int64) (document.Document, error) {
	if a.err != nil {
		return nil, a.err
	}
	if err := document.CheckSize(a.format, a.body, most); err != nil {
		return nil, err
	}
	return a.document()
}

// at is the URL of the page at a host. It is made for one request: of a long one there
// are not as many as there are endpoints.
func (p *page) at(host string) string {
	u := *p.url
	u.Host = cmp.Or(host, u.Host)
	return u.String()
}

// get asks a host for the page, once there is a place for that.
func (p *page) get(ctx context.Context, host string) *answer {
	var body []byte
	err := p.server.places.Do(ctx, &p.pace, func(ctx context.Context) (err error) {
		body, err = p.server.body(ctx, p.at(host))
		return err
	})
	return newAnswer(ctx, p.format, body, err)
}

// body returns the body of an answer with status 200.
func (s *server) body(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	got, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	if got.Status != http.StatusOK {
		request.URL.User, request.URL.RawQuery = nil, ""
		return nil, &client.HTTPError{Request: "GET " + request.URL.String(), Status: got.Status}
	}
	return got.Body, nil
}

// page is what is read at once: one URL, or that of every endpoint of a Service.
// It is the batch of its sources.
type page struct {
	server *server
	url    *url.URL
	format string
	// addresses are the hosts to ask now, at least one; "" for that of the URL.
	addresses func(context.Context) ([]string, error)
	pace      client.Pace

	mu      sync.Mutex
	skipped int // endpoints left out of the last reading
}

// sharePage returns the one page for a URL, a format and an identity, of the one
// server for its host.
func sharePage(ctx context.Context, p metricsAPIParams) (*page, error) {
	address, err := parseURL(p.URL)
	if err != nil {
		return nil, err
	}
	host := address.Scheme + "://" + address.Host
	where := []any{host, p.HTTPAuthParams, p.UnsafeSSL, p.Timeout}
	s, err := client.Shared(ctx, where, func(ctx context.Context) (*server, error) {
		own, err := p.client(ctx)
		return &server{host: host, client: own, places: client.NewPlaces()}, err
	})
	if err != nil {
		return nil, err
	}
	return client.Shared(ctx, []any{where, p.URL, p.Format, p.Aggregate}, func(ctx context.Context) (*page, error) {
		if !p.Aggregate {
			return &page{server: s, url: address, format: p.Format, addresses: func(context.Context) ([]string, error) { return []string{""}, nil }}, nil
		}
		endpoints, err := watchEndpoints(ctx, p.URL)
		if err != nil {
			return nil, err
		}
		return &page{server: s, url: address, format: p.Format, addresses: endpoints.addresses}, nil
	})
}

// Part says that the connection is the server's.
func (p *page) Part() {}

// ReadBatch asks each address once, whatever number of sources read the answer.
// No more answers are kept than are asked for together. Sources are told at once
// what they found, those first that find it quickly: others may have chosen
// places that take long.
func (p *page) ReadBatch(ctx context.Context, sources []scaler.Source, reply func(int, scaler.Result)) error {
	addresses, err := p.addresses(ctx)
	if err != nil {
		return err
	}
	found := make([]tally, len(sources))
	order := quickFirst(sources)
	asking := scaler.NewGroup(endpointsAtOnce)
	for at, address := range addresses {
		asking.Go("reading a page for metrics-api", func() {
			held, release := client.Held(ctx)
			defer release()
			held, turn := client.InTurn(held) // which begins when the answer is there
			defer turn.Rest()
			a := p.get(held, address)
			for _, i := range order {
				source := sources[i].(*apiSource)
				number, err := source.find(held, a)
				if found[i].add(at, number, err) == len(addresses) {
					reply(i, found[i].result(source.combine))
				}
			}
		})
	}
	if err := asking.Wait(); err != nil {
		return err
	}
	if len(found) > 0 {
		p.report(ctx, found[0].skipped(), len(addresses))
	}
	return nil
}

// quickFirst is the order in which sources look for their places: by how long
// each took the last time.
func quickFirst(sources []scaler.Source) []int {
	order := make([]int, len(sources))
	took := make([]int64, len(sources))
	for i, source := range sources {
		order[i], took[i] = i, source.(*apiSource).took()
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(took[a], took[b]) })
	return order
}

// Undivided says that a place by itself is read like the whole page.
func (p *page) Undivided() {}

// report logs when the number of endpoints changes that are left out: what is
// told is then of the others.
func (p *page) report(ctx context.Context, skipped, of int) {
	p.mu.Lock()
	changed := skipped != p.skipped
	p.skipped = skipped
	p.mu.Unlock()
	if changed && of > 1 {
		slog.InfoContext(ctx, "endpoints without an answer", "host", p.server.host, "skipped", skipped, "of", of)
	}
}
