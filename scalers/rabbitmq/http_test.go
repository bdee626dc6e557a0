package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestListing proves that many triggers of a vhost cost one request and few
// triggers one each, with the same answers.
func TestListing(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	queues := names("q", 9)
	for i, name := range queues {
		o.queue(name, i+1)
	}
	o.take("q-8", 4)
	for i, name := range queues {
		listed(t, r, v, name, int64(i+1))
	}
	requests, address := counted(t, r, v)
	all := append(queues, "missing")
	sources := opened(t, address, append(all, "q-0", "q-1")...)
	check := func(results []scaler.Result) {
		t.Helper()
		for i, result := range results {
			switch i = i % len(all); {
			case i == 9:
				if codeOf(result.Err) != codes.NotFound || !strings.HasPrefix(result.Err.Error(), "queue missing: ") {
					t.Errorf("the missing queue: %v, want NotFound", result.Err)
				}
			case result.Err != nil:
				t.Errorf("%s: %v", all[i], result.Err)
			case result.Readings[0].Value != float64(i+1):
				t.Errorf("%s = %v, want %d", all[i], result.Readings[0].Value, i+1)
			case i == 8 && result.Readings[0].Detail.(counts).ready != 5:
				t.Errorf("%s: %+v, want 5 ready", all[i], result.Readings[0].Detail)
			}
		}
	}
	check(batch(t, within(t), sources))
	if got := requests(); len(got) != 1 || got[0] != "/api/queues/"+v+"?columns="+columns {
		t.Errorf("requests = %q, want one listing", got)
	}
	var singles []scaler.Result
	for i := range all {
		singles = append(singles, batch(t, within(t), sources[i:i+1])...)
	}
	check(singles)
	if got := requests(); len(got) != len(all) || got[0] != "/api/queues/"+v+"/q-0?columns="+columns {
		t.Errorf("requests = %q, want one for each queue", got)
	}
	// Triggers that ask for the same queue are one, so these are two.
	batch(t, within(t), append(sources[:2:2], sources[10:]...))
	if got := requests(); len(got) != 2 {
		t.Errorf("requests = %q, want two", got)
	}
}

// spoiled are listings that come to nothing.
var spoiled = map[string]http.HandlerFunc{
	"without an answer": stall,
	"too large":         func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, spaces{}, 17<<20) },
	"forbidden":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
	"broken":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
	"of another":        func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"items":[]}`) },
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func isListing(request *http.Request) bool {
	return request.URL.Query().Get("use_regex") == "" && strings.Count(request.URL.EscapedPath(), "/") == 3
}

// TestListingIsAShortcut spoils the listing of a real broker's vhost, whose
// single queues answer. Nobody fails for it, and the next turn goes without it.
func TestListingIsAShortcut(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	queues := names("q", 9)
	for i, name := range queues {
		o.queue(name, i+1)
	}
	for i, name := range queues {
		listed(t, r, v, name, int64(i+1))
	}
	for name, spoil := range spoiled {
		t.Run(name, func(t *testing.T) {
			requests, address := intercepted(t, r, v, func(w http.ResponseWriter, request *http.Request) bool {
				if isListing(request) {
					spoil(w, request)
				}
				return isListing(request)
			})
			sources := opened(t, address, append(queues, "missing")...)
			for turn, listings := range []int{1, 0} {
				for i, result := range batch(t, within(t), sources) {
					switch {
					case i == len(queues):
						if codeOf(result.Err) != codes.NotFound {
							t.Errorf("turn %d: the missing queue: %v, want NotFound", turn, result.Err)
						}
					case result.Err != nil || result.Readings[0].Value != float64(i+1):
						t.Errorf("turn %d: %s = %v, %v", turn, queues[i], result.Readings, result.Err)
					}
				}
				if got := requests(); len(got) != listings+len(sources) {
					t.Errorf("turn %d: %d requests, want %d listings and one for each queue", turn, len(got), listings)
				}
			}
		})
	}
}

// TestListingIsTriedAgain follows when a vhost is listed after listings failed.
func TestListingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l listings
		for _, rest := range []time.Duration{shortestRest, 2 * shortestRest, 4 * shortestRest, 8 * shortestRest, longestRest, longestRest} {
			l.failed(time.Now())
			<-time.After(rest - time.Second)
			if l.worth(time.Now()) {
				t.Errorf("listed again within %v", rest)
			}
			<-time.After(time.Second)
			if !l.worth(time.Now()) {
				t.Errorf("not listed after %v", rest)
			}
		}
		l.succeeded()
		l.failed(time.Now())
		<-time.After(shortestRest)
		if !l.worth(time.Now()) {
			t.Error("a success is not remembered")
		}
	})
}

// TestRefusedLoginIsTriedOnce: a login that is refused again and again may be
// locked out.
func TestRefusedLoginIsTriedOnce(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	requests, address := counted(t, r, vhost(t, r))
	address = strings.Replace(address, servers.RabbitMQPassword+"@", "wrong-password@", 1)
	for _, result := range batch(t, within(t), opened(t, address, names("q", 9)...)) {
		if codeOf(result.Err) != codes.Unauthenticated {
			t.Errorf("%v, want Unauthenticated", result.Err)
		}
	}
	if got := requests(); len(got) != 1 {
		t.Errorf("%d requests with a wrong password, want 1", len(got))
	}
}

// TestStalledPartsFailAlone has the whole family read queues of a real broker
// beside a listing, and more patterns than may be asked for at once, that are
// not answered. The next turn is an hour away, so each answer is the first one.
func TestStalledPartsFailAlone(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	queues := names("q", 9)
	for _, name := range queues {
		o.queue(name, 1)
	}
	for _, name := range queues {
		listed(t, r, v, name, 1)
	}
	_, address := intercepted(t, r, v, func(w http.ResponseWriter, request *http.Request) bool {
		stalls := isListing(request) || request.URL.Query().Has("use_regex")
		if stalls {
			stall(w, request)
		}
		return stalls
	})
	family := scalertest.Serve(t, rabbitmq)
	for _, pattern := range names("p", 40) {
		family.Watch(t, "rabbitmq", map[string]string{"host": address, "queueName": pattern, "useRegex": "true"}, scalerv1.Mode_MODE_ACTIVE, time.Hour)
	}
	answered(t, family, address, queues)
}

// answered subscribes to all queues at once and expects each to be active.
func answered(t *testing.T, family *scalertest.Family, address string, queues []string) {
	t.Helper()
	watching := make([]*scalertest.Watching, len(queues))
	for i, name := range queues {
		watching[i] = family.Watch(t, "rabbitmq", map[string]string{"host": address, "queueName": name}, scalerv1.Mode_MODE_ACTIVE, time.Hour)
	}
	for i, name := range queues {
		if _, err := watching[i].Until(within(t), "active", scalertest.Active); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPatternsAreOneRequestEach proves what is asked of the API for a pattern.
func TestPatternsAreOneRequestEach(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	requests, address := counted(t, r, v)
	family := scalertest.Serve(t, rabbitmq)
	if _, err := family.Observe(t.Context(), "rabbitmq", map[string]string{
		"host": address, "queueName": "^a b/+$", "useRegex": "true", "pageSize": "7",
	}); err != nil {
		t.Fatal(err)
	}
	want := "/api/queues/" + v + "?page=1&use_regex=true&pagination=false&name=%5Ea+b%2F%2B%24&page_size=7&columns=" + columns
	if got := requests(); len(got) != 1 || got[0] != want {
		t.Errorf("requests = %q, want %q", got, want)
	}
}

// TestManyTriggersOverHTTP proves that requests do not grow with triggers.
func TestManyTriggersOverHTTP(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	queues := names("q", 20)
	asked := make([]string, 1000)
	for i := range asked {
		asked[i] = queues[i%len(queues)]
	}
	for _, name := range queues {
		o.queue(name, 1)
	}
	for _, name := range queues {
		listed(t, r, v, name, 1)
	}
	requests, address := counted(t, r, v)
	sources := opened(t, address, asked...)
	for first := 0; first < len(sources); first += 500 {
		for _, result := range batch(t, within(t), sources[first:first+500]) {
			if result.Err != nil || result.Readings[0].Value != 1 {
				t.Fatalf("result = %v, %v", result.Readings, result.Err)
			}
		}
	}
	if got := requests(); len(got) != 2 {
		t.Errorf("%d requests for two batches, want 2", len(got))
	}
}

// TestAnswersOfTheAPI proves what becomes of answers that a healthy broker does
// not give. None of their text may show.
func TestAnswersOfTheAPI(t *testing.T) {
	const other = ": GET http://API/api/queues/v/jobs: the answer is not one of the management API"
	const otherPage = ": GET http://API/api/queues/v: the answer is not one of the management API"
	tests := map[string]struct {
		status  int // 200 when 0
		body    string
		regex   bool
		want    scalertest.Observation
		code    codes.Code
		message string
	}{
		"statistics are absent": {body: `{"name":"jobs"}`},
		"statistics are null":   {body: `{"name":"jobs","messages":3,"message_stats":null}`, want: scalertest.Observation{Value: 3, Active: true}},
		"everything at once": {
			body: `{"name":"jobs","state":"running","messages":3,"consumers":[{"x":1}],"message_stats":{"publish":7,"publish_details":{"rate":0.2}}}`,
			want: scalertest.Observation{Value: 3, Active: true}},
		"a queue that is down": {
			body: `{"name":"jobs","state":"down"}`, code: codes.Unavailable, message: "queue jobs: is not running"},
		"another queue":   {body: `{"name":"bills","messages":3}`, code: codes.Unavailable, message: "queue jobs" + other},
		"an empty object": {body: `{}`, code: codes.Unavailable, message: "queue jobs" + other},
		"no JSON":         {body: `<html>hush-hush</html>`, code: codes.Unavailable, message: "queue jobs" + other},
		"text for a number": {
			body: `{"name":"jobs","messages":"hush-hush"}`, code: codes.Unavailable, message: "queue jobs" + other},
		"no content": {
			status: http.StatusNoContent, code: codes.FailedPrecondition, message: "queue jobs: GET http://API/api/queues/v/jobs: 204 No Content"},
		"created": {
			status: http.StatusCreated, body: `{"name":"jobs","messages":3}`, code: codes.FailedPrecondition,
			message: "queue jobs: GET http://API/api/queues/v/jobs: 201 Created"},
		"forbidden": {
			status: http.StatusForbidden, body: "hush-hush", code: codes.PermissionDenied,
			message: "queue jobs: GET http://API/api/queues/v/jobs: 403 Forbidden"},
		"a server's defect": {
			status: http.StatusInternalServerError, body: "hush-hush", code: codes.Unavailable,
			message: "queue jobs: GET http://API/api/queues/v/jobs: 500 Internal Server Error"},
		"no items":          {regex: true, body: `{"page_count":1}`, code: codes.Unavailable, message: "queues matching jobs" + otherPage},
		"a list for a page": {regex: true, body: `[]`, code: codes.Unavailable, message: "queues matching jobs" + otherPage},
		"no match":          {regex: true, body: `{"page_count":0,"items":[]}`},
		"one match is down": {
			regex: true, body: `{"page_count":1,"items":[{"name":"jobs-1","messages":1},{"name":"jobs-2","state":"down"}]}`,
			code: codes.Unavailable, message: "queues matching jobs: queue jobs-2 is not running"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tt.status != 0 {
					w.WriteHeader(tt.status)
				}
				_, _ = io.WriteString(w, tt.body)
			}))
			defer api.Close()
			address := api.Listener.Addr().String()
			metadata := map[string]string{"host": "http://bob:hush-hush@" + address + "/v", "queueName": "jobs"}
			if tt.regex {
				metadata["useRegex"] = "true"
			}
			got, err := scalertest.Serve(t, rabbitmq).Observe(t.Context(), "rabbitmq", metadata)
			message := status.Convert(err).Message()
			want := "rabbitmq: " + strings.ReplaceAll(tt.message, "API/", address+"/")
			if status.Code(err) != tt.code || err != nil && message != want {
				t.Fatalf("error = %v, want %v %q", err, tt.code, want)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestListingOfAnother proves that a listing which is none empties no queue.
func TestListingOfAnother(t *testing.T) {
	for _, body := range []string{"null", "{}", "[1]", "", `{"items":[]}`} {
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		for _, result := range batch(t, within(t), opened(t, api.URL+"/v", names("q", listingFrom)...)) {
			if codeOf(result.Err) != codes.Unavailable {
				t.Errorf("listing %q: %v, %v, want Unavailable", body, result.Readings, result.Err)
			}
		}
		api.Close()
	}
}

// TestTimeout proves that a stalled API costs a read the trigger's timeout.
func TestTimeout(t *testing.T) {
	address := scalertest.StalledAddress(t)
	_, err := scalertest.Serve(t, rabbitmq).Observe(t.Context(), "rabbitmq",
		map[string]string{"host": "http://" + address + "/v", "queueName": "jobs", "timeout": "100ms"})
	want := "rabbitmq: queue jobs: GET http://" + address + "/api/queues/v/jobs: no answer in time"
	if status.Code(err) != codes.DeadlineExceeded || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want DeadlineExceeded %q", err, want)
	}
}

func TestCombine(t *testing.T) {
	number := func(n int64) *int64 { return &n }
	answers := []queueAnswer{
		{Messages: number(5), Ready: number(1), Stats: statistics{Publish: rate{1}, DeliverGet: rate{4}}},
		{Messages: number(2), Ready: number(2), Stats: statistics{Publish: rate{2}}},
	}
	for operation, want := range map[string]counts{
		"sum": {messages: 7, ready: 3, published: 3, delivered: 4},
		"avg": {messages: 3, ready: 1, published: 1.5, delivered: 2},
		"max": {messages: 5, ready: 2, published: 2, delivered: 4},
	} {
		var all combined
		for _, answer := range answers {
			all.add(answer)
		}
		if got, err := all.by(operation); err != nil || got != want {
			t.Errorf("%s = %+v, %v, want %+v", operation, got, err, want)
		}
	}
}

// TestLongListsAreReadInTurn: others compute between pieces of a list of queues.
func TestLongListsAreReadInTurn(t *testing.T) {
	body := []byte(`{"page_count":1,"items":[` + strings.Repeat("{},", 100_000) + "{}]}")
	turns, queues := 0, 0
	answer := pageAnswer{Items: queueList{use: func(queueAnswer) { queues++ }, turn: func() error { turns++; return nil }}}
	if err := json.Unmarshal(body, &answer); err != nil || queues != 100_001 || turns < len(body)>>15 {
		t.Errorf("%d turns for %d queues in %d bytes, %v", turns, queues, len(body), err)
	}
}
