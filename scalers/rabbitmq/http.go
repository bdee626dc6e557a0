package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

const (
	// listingFrom is how many queues make one listing of the vhost cheaper than
	// a request each.
	listingFrom = 5
	// requestsAtOnce bounds what one batch asks of a management API together.
	requestsAtOnce = 8
	// largestAnswer bounds a listing, in bytes: some hundred thousand queues.
	largestAnswer = 64 << 20
)

// columns are what is needed of a queue. A server that does not know the
// parameter answers with everything, which does as well.
const columns = "name,state,messages,messages_ready,message_stats.publish_details.rate,message_stats.deliver_get_details.rate"

// httpSource reads one queue, or the queues that match a pattern, from the
// management API.
type httpSource struct {
	management *management
	queue      string // a name, or with regex a pattern

	regex     bool
	operation string
	pageSize  int64
}

// Read asks for the queue now.
func (s *httpSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	return scaler.ReadAlone(ctx, s.management, s)
}

// Batch is the vhost: its sources are read together.
func (s *httpSource) Batch() scaler.Batch { return s.management }

// Close has nothing of its own to release: the connections are shared.
func (s *httpSource) Close() error { return nil }

// management is one vhost of a management API as one identity. It is the batch
// of its sources.
type management struct {
	client *scaler.HTTPClient
	queues string // URL of the vhost's queues
}

// managementKey tells them apart.
type managementKey struct {
	queues, identity string
	timeout          time.Duration
}

// shareManagement returns the one management for an endpoint and an identity.
func shareManagement(ctx context.Context, e endpoint, l login, timeout time.Duration) (*management, error) {
	queues := e.scheme + "://" + e.host + e.base + "/api/queues/" + segment(e.vhost)
	key := managementKey{queues: queues, identity: l.fingerprint(e), timeout: timeout}
	return scaler.Shared(ctx, key, func(ctx context.Context) (*management, error) {
		client, err := l.http(ctx, e, timeout)
		if err != nil {
			return nil, err
		}
		return &management{client: client, queues: queues}, nil
	})
}

// Close has nothing of its own to release: the transport is shared.
func (m *management) Close() error { return nil }

// ReadBatch reads many queues by one listing of the vhost, few of them and
// every pattern by a request each.
func (m *management) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	results := make([]scaler.Result, len(sources))
	places := make(chan struct{}, requestsAtOnce)
	var asking sync.WaitGroup
	ask := func(f func()) {
		asking.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			f()
		})
	}
	named := map[string][]*scaler.Result{}
	for i, source := range sources {
		s := source.(*httpSource)
		if s.regex {
			ask(func() { results[i] = resultOf(m.matching(ctx, s)) })
		} else {
			named[s.queue] = append(named[s.queue], &results[i])
		}
	}
	if len(named) >= listingFrom {
		ask(func() { m.list(ctx, named) })
	} else {
		for queue, wanted := range named {
			ask(func() { spread(resultOf(m.single(ctx, queue)), wanted) })
		}
	}
	asking.Wait()
	for i, result := range results {
		answer(i, result)
	}
	return nil
}

func resultOf(seen counts, err error) scaler.Result {
	if err != nil {
		return scaler.Result{Err: err}
	}
	return scaler.Result{Readings: seen.readings()}
}

// spread gives one answer to all who asked.
func spread(result scaler.Result, wanted []*scaler.Result) {
	for _, w := range wanted {
		*w = result
	}
}

// single asks for one queue.
func (m *management) single(ctx context.Context, queue string) (counts, error) {
	var answer queueAnswer
	err := m.get(ctx, m.queues+"/"+segment(queue)+"?columns="+columns, &answer)
	if err == nil && answer.Name != queue {
		err = errOther
	}
	var seen counts
	if err == nil {
		seen, err = answer.counts()
	}
	if err != nil {
		return counts{}, fmt.Errorf("queue %s: %w", queue, err)
	}
	return seen, nil
}

// list asks for all queues of the vhost and gives each of those wanted its
// answer. One that the listing does not have does not exist.
func (m *management) list(ctx context.Context, wanted map[string][]*scaler.Result) {
	var answer []queueAnswer
	err := m.get(ctx, m.queues+"?columns="+columns, &answer)
	if err == nil && answer == nil {
		err = errOther
	}
	listed := make(map[string]queueAnswer, len(answer))
	for _, queue := range answer {
		listed[queue.Name] = queue
	}
	for name, results := range wanted {
		spread(resultOf(pick(listed, name, err)), results)
	}
}

func pick(listed map[string]queueAnswer, name string, err error) (seen counts, _ error) {
	queue, found := listed[name]
	switch {
	case err != nil:
	case !found:
		err = status.Error(codes.NotFound, "does not exist in the vhost")
	default:
		seen, err = queue.counts()
	}
	if err != nil {
		return counts{}, fmt.Errorf("queue %s: %w", name, err)
	}
	return seen, nil
}

// pageAnswer is what the API says to a pattern.
type pageAnswer struct {
	PageCount int           `json:"page_count"`
	Items     []queueAnswer `json:"items"`
}

// matching asks for the queues that match a pattern, combined.
func (m *management) matching(ctx context.Context, s *httpSource) (counts, error) {
	query := "?page=1&use_regex=true&pagination=false&name=" + url.QueryEscape(s.queue) +
		"&page_size=" + strconv.FormatInt(s.pageSize, 10) + "&columns=" + columns
	var answer pageAnswer
	err := m.get(ctx, m.queues+query, &answer)
	switch {
	case err != nil:
	case answer.Items == nil:
		err = errOther
	case answer.PageCount > 1:
		err = status.Errorf(codes.FailedPrecondition,
			"matches more queues than fit one page of %d: raise pageSize or narrow the pattern", s.pageSize)
	}
	var seen counts
	if err == nil {
		seen, err = combine(answer.Items, s.operation)
	}
	if err != nil {
		return counts{}, fmt.Errorf("queues matching %s: %w", s.queue, err)
	}
	return seen, nil
}

// errOther is an answer that is none of the management API's. Its text stays
// away: nobody knows what it holds.
var errOther = status.Error(codes.Unavailable, "the answer is not one of the management API")

// get decodes the answer to a request. Only status 200 is one.
func (m *management) get(ctx context.Context, address string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return errHostMalformed
	}
	got, err := m.client.Do(request)
	if err != nil {
		return err
	}
	if got.Status != http.StatusOK {
		asked, _, _ := strings.Cut(address, "?")
		return &scaler.HTTPError{Request: "GET " + asked, Status: got.Status}
	}
	if err := json.Unmarshal(got.Body, answer); err != nil {
		return errOther
	}
	return nil
}
