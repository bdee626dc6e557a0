package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

const (
	// listingFrom is how many queues make one listing of the vhost cheaper than
	// a request each.
	listingFrom = 5
	// requestsAtOnce bounds what one batch asks of a management API together.
	requestsAtOnce = 8
	// shortestRest and longestRest bound how long a vhost goes without listings
	// after one has failed.
	shortestRest = 5 * time.Minute
	longestRest  = time.Hour
)

// columns are what is needed of a queue. A server that does not know the
// parameter answers with everything, which does as well.
const columns = "name,state,messages,messages_ready,message_stats.publish_details.rate,message_stats.deliver_get_details.rate"

// queueSource reads one queue from the management API.
type queueSource struct {
	management *management
	queue      string
}

// Read asks for the queue now.
func (s *queueSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	result := resultOf(s.management.single(ctx, s.queue))
	return result.Readings, result.Err
}

// Batch is the vhost: its queues are read together.
func (s *queueSource) Batch() scaler.Batch { return s.management }

// patternSource reads the queues that match a pattern from the management API.
// That is a request of its own, so it is read by itself.
type patternSource struct {
	management *management
	pattern    string
	operation  string
	pageSize   int64
}

// Read asks for the queues now.
func (s *patternSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	result := resultOf(s.management.matching(ctx, s))
	return result.Readings, result.Err
}

// management is one vhost of a management API as one identity. It is the batch
// of its sources.
type management struct {
	client   *client.HTTPClient
	queues   string // URL of the vhost's queues
	listings listings
}

// Gathered says that a listing for one queue costs as much as for all.
func (m *management) Gathered() {}

// listings is whether the vhost is worth listing. A listing saves requests and
// nothing else: when it is slow, too large or refused, queues are asked for one
// by one, and for some time it is not tried again.
type listings struct {
	mu   sync.Mutex
	rest time.Duration // after the last failure; 0 after a success
	next time.Time     // no listing before
}

func (l *listings) worth(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !now.Before(l.next)
}

func (l *listings) failed(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = min(max(2*l.rest, shortestRest), longestRest)
	l.next = now.Add(l.rest)
}

func (l *listings) succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = 0
}

// shareManagement returns the one management for an endpoint and an identity.
func shareManagement(ctx context.Context, e endpoint, l login, timeout time.Duration) (*management, error) {
	queues := e.scheme + "://" + e.host + e.base + "/api/queues/" + segment(e.vhost)
	return client.Shared(ctx, []any{queues, l.identity(e), timeout}, func(ctx context.Context) (*management, error) {
		client, err := l.http(ctx, e, timeout)
		if err != nil {
			return nil, err
		}
		return &management{client: client, queues: queues}, nil
	})
}

// ReadBatch reads many queues by one listing of the vhost, few of them, and
// those of a vhost that cannot be listed, by a request each.
func (m *management) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	wanted := map[string][]int{}
	for i, source := range sources {
		queue := source.(*queueSource).queue
		wanted[queue] = append(wanted[queue], i)
	}
	give := func(queue string, r scaler.Result) {
		for _, i := range wanted[queue] {
			answer(i, r)
		}
	}
	if len(wanted) >= listingFrom && m.listings.worth(time.Now()) && m.list(ctx, wanted, give) {
		return nil
	}
	return m.each(ctx, wanted, give)
}

// each asks for all queues by a request each, some at a time.
func (m *management) each(ctx context.Context, wanted map[string][]int, give func(string, scaler.Result)) error {
	queues := slices.Collect(maps.Keys(wanted))
	scaler.InTurns(ctx, queues, func(queue string) []int { return wanted[queue] })
	asking := scaler.NewGroup(requestsAtOnce)
	for _, queue := range queues {
		asking.Go("reading queue "+queue, func() {
			give(queue, resultOf(m.single(scaler.ForMembers(ctx, wanted[queue]...), queue)))
		})
	}
	return asking.Wait()
}

func resultOf(seen counts, err error) scaler.Result {
	if err != nil {
		return scaler.Result{Err: err}
	}
	return scaler.Result{Readings: seen.readings()}
}

// single asks for one queue.
func (m *management) single(ctx context.Context, queue string) (counts, error) {
	var answer queueAnswer
	err := m.get(ctx, m.queues+"/"+segment(queue)+"?columns="+columns, &answer)
	if err == nil && answer.Name != queue {
		err = foreign(m.queues + "/" + segment(queue))
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
// answer. One that the listing does not have does not exist. It is false when
// the queues are to be asked for one by one, which half of the time is left for.
func (m *management) list(ctx context.Context, wanted map[string][]int, give func(string, scaler.Result)) bool {
	listing, cancel := half(ctx)
	defer cancel()
	listed := make(map[string]queueAnswer, len(wanted))
	answer := queueList{use: func(queue queueAnswer) {
		if _, is := wanted[queue.Name]; is {
			listed[queue.Name] = queue
		}
	}}
	err := m.get(listing, m.queues+"?columns="+columns, &answer)
	if err == nil && !answer.given {
		err = foreign(m.queues)
	}
	switch {
	case err == nil:
		m.listings.succeeded()
	case ctx.Err() != nil:
		return true // nobody is left to answer
	case status.Code(err) != codes.Unauthenticated: // a login that is refused once is no better tried again
		m.listings.failed(time.Now())
		return false
	}
	for name := range wanted {
		give(name, resultOf(pick(listed, name, err)))
	}
	return true
}

// half is ctx with half of the time that is left.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	end, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}

func pick(listed map[string]queueAnswer, name string, err error) (seen counts, _ error) {
	queue, found := listed[name]
	switch {
	case err != nil:
	case !found:
		err = scaler.Errorf(codes.NotFound, "does not exist in the vhost")
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
	PageCount int       `json:"page_count"`
	Items     queueList `json:"items"`
}

// queueList is a list of queues of which none is kept but by its user.
type queueList struct {
	use   func(queueAnswer)
	turn  func() error
	given bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *queueList) UnmarshalJSON(text []byte) error {
	l.given = string(text) != "null"
	return client.EachElement(l.turn, text, queueAnswer{}, l.use)
}

// matching asks for the queues that match a pattern, combined.
func (m *management) matching(ctx context.Context, s *patternSource) (counts, error) {
	query := "?page=1&use_regex=true&pagination=false&name=" + url.QueryEscape(s.pattern) +
		"&page_size=" + strconv.FormatInt(s.pageSize, 10) + "&columns=" + columns
	var all combined
	answer := pageAnswer{Items: queueList{use: all.add}}
	err := m.get(ctx, m.queues+query, &answer)
	switch {
	case err != nil:
	case !answer.Items.given:
		err = foreign(m.queues)
	case answer.PageCount > 1:
		err = scaler.Errorf(codes.FailedPrecondition,
			"matches more queues than fit one page of %d: raise pageSize or narrow the pattern", s.pageSize)
	}
	var seen counts
	if err == nil {
		seen, err = all.by(s.operation)
	}
	if err != nil {
		return counts{}, fmt.Errorf("queues matching %s: %w", s.pattern, err)
	}
	return seen, nil
}

// foreign is the error of an answer that is none of the management API's. Its
// text stays away: nobody knows what it holds.
func foreign(address string) error {
	return scaler.Errorf(codes.Unavailable, "%s: the answer is not one of the management API", named(address))
}

// named is how a request is called in errors.
func named(address string) string {
	path, _, _ := strings.Cut(address, "?")
	return "GET " + path
}

// get decodes the answer to a request. Only status 200 is one.
func (m *management) get(ctx context.Context, address string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return errHostMalformed
	}
	ctx, release := client.Held(ctx)
	defer release()
	got, err := m.client.Do(request.WithContext(ctx))
	if err != nil {
		return err
	}
	if got.Status != http.StatusOK {
		return &client.HTTPError{Request: named(address), Status: got.Status}
	}
	_, err = client.Understand(ctx, got.Body, func(turn func() error) (any, error) {
		if list, ok := answer.(*pageAnswer); ok {
			list.Items.turn = turn
		}
		if json.Unmarshal(got.Body, answer) != nil {
			return nil, foreign(address)
		}
		return answer, nil
	})
	return err
}
