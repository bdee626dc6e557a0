package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// answers is a server of HTTP that answers requests for each page so.
func answers(t testing.TB, pages map[string]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, found := pages[r.URL.Path]
		if !found {
			http.NotFound(w, r)
			return
		}
		if code, err := fmt.Sscanf(text, "%d", new(int)); err == nil && code == 1 {
			var n int
			_, _ = fmt.Sscanf(text, "%d", &n)
			w.WriteHeader(n)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// listed is a listing with these fields of the consumer jobs.
func listed(size int, fields string) string {
	return fmt.Sprintf(`{"server_id": "A", "meta_cluster": {"cluster_size": %d}, "account_details": [{"name": "", "id": "$G", "stream_detail": [
		{"name": "orders", "config": {"subjects": ["orders"]}, "consumer_detail": [{"name": "jobs" %s}]}]}]}`, size, fields)
}

// unnamed is a listing that does not say which server it is of.
func unnamed(listing string) string { return strings.Replace(listing, `"server_id": "A", `, "", 1) }

// TestAnswersOfOthers: what is no answer is never a number.
func TestAnswersOfOthers(t *testing.T) {
	foreign := "GET http://%s/jsz: the answer is not one of a NATS server"
	about := "consumer jobs of stream orders: "
	many := strings.Repeat(`"127.0.0.1:1",`, 10_000)
	tests := map[string]struct {
		jsz, varz string
		code      codes.Code
		message   string
	}{
		"a page":            {jsz: "<html>hello</html>", code: codes.Unavailable, message: foreign},
		"nothing":           {jsz: "", code: codes.Unavailable, message: foreign},
		"null":              {jsz: "null", code: codes.Unavailable, message: foreign},
		"a list":            {jsz: "[1]", code: codes.Unavailable, message: foreign},
		"another object":    {jsz: `{"server_name": "x"}`, code: codes.Unavailable, message: foreign},
		"half an object":    {jsz: listed(0, "")[:100], code: codes.Unavailable, message: foreign},
		"depth":             {jsz: strings.Repeat("[", 1<<20), code: codes.Unavailable, message: foreign},
		"another status":    {jsz: "500", code: codes.Unavailable, message: "GET http://%s/jsz: 500 Internal Server Error"},
		"a status without":  {jsz: "204", code: codes.Unavailable, message: foreign},
		"not found":         {jsz: "404", code: codes.NotFound, message: "GET http://%s/jsz: 404 Not Found"},
		"no numbers":        {jsz: listed(0, ""), code: codes.Unavailable, message: about + "the server does not say how many messages wait"},
		"half the numbers":  {jsz: listed(0, `, "num_pending": 3`), code: codes.Unavailable, message: about + "the server does not say how many messages wait"},
		"texts":             {jsz: listed(0, `, "num_pending": "3", "num_ack_pending": 1`), code: codes.Unavailable, message: about + "the server does not say how many messages wait"},
		"less than nothing": {jsz: listed(0, `, "num_pending": -3, "num_ack_pending": 1`), code: codes.Unavailable, message: about + "the server does not say how many messages wait"},
		"a cluster without servers": {
			jsz: listed(3, `, "num_pending": 3, "num_ack_pending": 1`), code: codes.NotFound, message: "GET http://%s/varz: 404 Not Found"},
		"a cluster without a leader": {
			jsz: listed(3, `, "num_pending": 3, "num_ack_pending": 1`), varz: `{"server_id": "A", "server_name": "a"}`,
			code: codes.Unavailable, message: about + "it has no leader"},
		"a leader that nobody knows": {
			jsz: listed(3, `, "cluster": {"leader": "b"}, "num_pending": 3, "num_ack_pending": 1`), varz: `{"server_id": "A", "server_name": "a", "connect_urls": [` + many + `"x:1"]}`,
			code: codes.Unavailable, message: about + "leader node not found: b"},
		"another server": {
			jsz: listed(3, `, "cluster": {"leader": "a"}, "num_pending": 3, "num_ack_pending": 1`), varz: `{"server_id": "B", "server_name": "a"}`,
			code: codes.Unavailable, message: about + "server a: has started anew, or moved"},
		"a leader":               {jsz: listed(3, `, "cluster": {"leader": "a"}, "num_pending": 3, "num_ack_pending": 1`), varz: `{"server_id": "A", "server_name": "a"}`},
		"without ids":            {jsz: unnamed(listed(3, `, "cluster": {"leader": "a"}, "num_pending": 3, "num_ack_pending": 1`)), varz: `{"server_name": "a"}`},
		"a server without an id": {jsz: unnamed(listed(0, `, "num_pending": 3, "num_ack_pending": 1`))},
		"a server":               {jsz: listed(0, `, "num_pending": 3, "num_ack_pending": 1`)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pages := map[string]string{"/jsz": tt.jsz}
			if tt.varz != "" {
				pages["/varz"] = tt.varz
			}
			address := answers(t, pages)
			readings, err := opened(t, address, "orders", "jobs")[0].Read(within(t))
			want := strings.ReplaceAll(tt.message, "%s", address)
			if status.Code(err) != tt.code || err != nil && status.Convert(err).Message() != want {
				t.Fatalf("%v, error = %v, want %v %q", readings, err, tt.code, want)
			}
			if err == nil && readings[0].Value != 4 {
				t.Errorf("value = %v", readings[0].Value)
			}
		})
	}
}

// TestLeadersThatHaveNotCounted: who begins to lead says 0 until it has counted, and
// who starts says so of itself. That is no number. One that has led for long, or
// has nothing that was not delivered, is believed.
func TestLeadersThatHaveNotCounted(t *testing.T) {
	const (
		now  = `"ts": "2026-03-01T12:00:10.5Z"`
		late = `"leader_since": "2026-03-01T12:00:09Z"`
		long = `"leader_since": "2026-03-01T11:00:00Z"`
	)
	tests := map[string]struct {
		stream, consumer string
		want             codes.Code
		value            float64
	}{
		"it leads for a second":          {consumer: `"num_pending": 0, "cluster": {"leader": "a", ` + late + `}`, want: codes.Unavailable},
		"and what was given is open":     {consumer: `"num_pending": 0, "num_ack_pending": 2, "cluster": {"leader": "a", ` + late + `}`, want: codes.Unavailable},
		"it leads for long":              {consumer: `"num_pending": 0, "cluster": {"leader": "a", ` + long + `}`},
		"it has counted":                 {consumer: `"num_pending": 3, "cluster": {"leader": "a", ` + late + `}`, value: 3},
		"all was delivered":              {consumer: `"num_pending": 0, "delivered": {"stream_seq": 5}, "cluster": {"leader": "a", ` + late + `}`},
		"the stream is empty":            {stream: `"state": {"messages": 0, "last_seq": 5}`, consumer: `"num_pending": 0, "cluster": {"leader": "a", ` + late + `}`},
		"its followers are not known":    {consumer: `"num_pending": 0, "config": {"durable_name": "jobs"}, "cluster": {"leader": "a"}`, want: codes.Unavailable},
		"its followers are known":        {consumer: `"num_pending": 0, "config": {"durable_name": "jobs"}, "cluster": {"leader": "a", "replicas": [{"name": "b"}]}`},
		"it has no followers":            {consumer: `"num_pending": 0, "config": {"durable_name": "jobs", "num_replicas": 1}, "cluster": {"leader": "a"}`},
		"it is not durable, so has none": {consumer: `"num_pending": 0, "config": {"name": "jobs"}, "cluster": {"leader": "a"}`},
		"its stream tells no state":      {stream: `"x": 0`, consumer: `"num_pending": 0, "cluster": {"leader": "a", ` + late + `}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stream := tt.stream
			if stream == "" {
				stream = `"state": {"messages": 5, "last_seq": 5}`
			}
			address := answers(t, map[string]string{
				"/jsz": `{"server_id": "A", "meta_cluster": {"cluster_size": 3}, "account_details": [{"id": "$G", "stream_detail": [{"name": "orders",
					"config": {"subjects": ["orders"], "retention": "limits", "num_replicas": 3}, ` + stream + `,
					"consumer_detail": [{"name": "jobs", ` + now + `, ` + tt.consumer + `, "num_ack_pending": 0}]}]}]}`,
				"/varz": `{"server_id": "A", "server_name": "a"}`,
			})
			readings, err := opened(t, address, "orders", "jobs")[0].Read(within(t))
			if status.Code(err) != tt.want || err == nil && readings[0].Value != tt.value {
				t.Fatalf("%v, %v, want %v, %v", readings, err, tt.value, tt.want)
			}
			const message = "consumer jobs of stream orders: its leader has just begun, and may not have counted yet"
			if err != nil && status.Convert(err).Message() != message {
				t.Errorf("error = %v, want %s", err, message)
			}
		})
	}
}

// TestAnotherServersNumbers: servers that do not say since when they lead are taken
// for new ones for a while, when the numbers were another's before.
func TestAnotherServersNumbers(t *testing.T) {
	s, begun := &consumerSource{}, time.Now()
	zero := consumer{doubtful: true, led: -1}
	for i, step := range []struct {
		server string
		c      consumer
		after  time.Duration
		want   bool
	}{
		{"A", zero, 0, false}, // nothing was known before
		{"A", zero, time.Second, false},
		{"B", zero, 2 * time.Second, true},
		{"B", consumer{led: -1}, 3 * time.Second, false}, // it has counted
		{"B", zero, 11 * time.Second, true},
		{"B", zero, 12 * time.Second, false},
		{"A", zero, 13 * time.Second, true},
	} {
		if got := s.early(step.c, step.server, begun.Add(step.after)); got != step.want {
			t.Errorf("step %d: early %v, want %v", i, got, step.want)
		}
	}
}

// TestAnswersWithoutEnd are refused.
func TestAnswersWithoutEnd(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for piece := bytes.Repeat([]byte("[1],"), 1<<18); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	before := scalertest.Allocated()
	_, err := opened(t, strings.TrimPrefix(s.URL, "http://"), "orders", "jobs")[0].Read(within(t))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the answer is larger than") {
		t.Errorf("error = %v", err)
	}
	if more := scalertest.Allocated() - before; more > 256<<20 {
		t.Errorf("%d bytes were allocated", more)
	}
}

// TestListingsWithoutMeasure: a listing is gone through in turns, which end with
// their read, and names a consumer once.
func TestListingsWithoutMeasure(t *testing.T) {
	const many = 10_000
	text := `{"server_id": "A", "account_details": [{"id": "$G", "stream_detail": [{"name": "orders", "consumer_detail": [{"name": "jobs", "num_pending": 3, "num_ack_pending": 1}` +
		strings.Repeat(`, {"name": "jobs", "num_pending": 9, "num_ack_pending": 9}`, many-1) + `]}]}]}`
	a, jobs := &account{id: "$G"}, place{"orders", "jobs"}
	turns, ended := 0, errors.New("the read ended")
	listing := func(until int) (*listing, error) {
		turns = 0
		return a.understand(func() error {
			if turns++; turns > until {
				return ended
			}
			return nil
		}, []byte(text), map[place][]int{jobs: {0}})
	}
	if l, err := listing(2 * many); err != nil || l.found[jobs].lag != 4 || turns < many {
		t.Errorf("%+v, %v after %d turns", l, err, turns)
	}
	if _, err := listing(many / 2); !errors.Is(err, ended) {
		t.Errorf("after the end: %v", err)
	}
}

// FuzzListing has a server answer anything: what comes of it is an error or a
// number that is none below zero.
func FuzzListing(f *testing.F) {
	for _, text := range []string{
		listed(0, `, "num_pending": 3, "num_ack_pending": 1`), listed(3, `, "cluster": {"leader": "a"}`), "null", "[]", "{}", `{"server_id": 1}`,
		`{"server_id": "A", "account_details": {"a": 1}}`, `{"server_id": "A", "account_details": [[[{"id": "$G"}]]]}`,
		`{"server_id": "A", "account_details": [{"id": "$G", "stream_detail": [{"name": "orders", "consumer_detail": {"name": "jobs"}}]}]}`,
	} {
		f.Add([]byte(text))
	}
	a := &account{id: "$G"}
	wanted := map[place][]int{{"orders", "jobs"}: {0}}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := a.understand(func() error { return nil }, text, wanted)
		if err != nil {
			t.Error(err)
		}
		if l == nil {
			return
		}
		for p, c := range l.found {
			if len(wanted[p]) == 0 || c.counted && !(c.lag >= 0) || len(c.subjects.names) > mostBytes+mostSubjects || len(c.leader) > longestName || (c.subjects.names == "") == (c.subjects.unheard == "") {
				t.Errorf("%v: %+v", p, c)
			}
		}
	})
}

// FuzzClientPort has what passes for a client port say anything, in pieces: who
// listens makes next to nothing of it, and ends.
func FuzzClientPort(f *testing.F) {
	for _, text := range []string{
		"INFO {}\r\nPONG\r\nPONG\r\nMSG orders 1 4\r\nwork\r\nPING\r\n", "INFO {}\r\n-ERR 'Authorization Violation'\r\n", "INFO {\"tls_required\":true}\r\n\x16\x03\x01",
		"INFO {}\r\nPONG\r\n-ERR 'Permissions Violation for Subscription to \"orders\"'\r\nPONG\r\n", "INFO {}\r\nPONG\r\nHMSG orders 1 12 14\r\nNATS/1.0\r\n\r\nab\r\n",
		"INFO {}\r\nPONG\r\nMSG orders 1 2147483647\r\n", "INFO {}\r\nPONG\r\nMSG orders 1 -1\r\n", "INFO {}\r\nPONG\r\nPONG\r\nPONG\r\nPONG\r\n", "HTTP/1.1 400 Bad Request\r\n", "INFO [\r\n", "INFO {}\r\nPONG\r\nMSG\r\n",
	} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	zeros := make([]byte, 1<<16)
	page := answers(f, map[string]string{"/jsz": listed(0, `, "num_pending": 0, "num_ack_pending": 0`)})
	f.Fuzz(func(t *testing.T, text []byte, endless bool) {
		address := scalertest.Listen(t, func(c net.Conn) {
			for range 2 {
				if _, err := c.Write(text[:len(text)/2]); err != nil {
					return
				}
				if _, err := c.Write(text[len(text)/2:]); err != nil || !endless {
					break
				}
			}
			for sent := 0; endless && sent < 8<<20; sent += len(zeros) {
				if _, err := c.Write(zeros); err != nil {
					return
				}
			}
			_, _ = io.Copy(io.Discard, c)
		})
		opening, release := scaler.Opening(t.Context())
		defer release()
		source, err := openJetStream(opening, jetStreamParams{
			monitoringParams: monitoringParams{Endpoint: page, Account: "$G"}, clientParams: clientParams{ClientEndpoint: address}, Stream: "orders", Consumer: "jobs",
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.Read(opening); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(opening, 100*time.Millisecond)
		defer cancel()
		before := scalertest.Allocated()
		if err := source.(scaler.Ringer).Listen(ctx, func() {}, func() {}); err == nil || strings.Contains(err.Error(), "defect") {
			t.Errorf("listening ended with %v", err)
		}
		if more := scalertest.Allocated() - before; more > 4<<20 {
			t.Errorf("%d bytes were allocated", more)
		}
	})
}

// TestFloods ends listening at who sends without end what nobody asked for.
func TestFloods(t *testing.T) {
	page := answers(t, map[string]string{"/jsz": listed(0, `, "num_pending": 0, "num_ack_pending": 0`)})
	for name, line := range map[string]string{
		"questions": "PING\r\n", "messages": "MSG orders 99 4\r\nwork\r\n", "greetings": "INFO {}\r\n", "errors": "-ERR 'Permissions Violation for Subscription to \"orders\"'\r\n",
		"a line": "+OK ",
	} {
		t.Run(name, func(t *testing.T) {
			address := scalertest.Listen(t, func(c net.Conn) {
				go func() { _, _ = io.Copy(io.Discard, c) }()
				if _, err := io.WriteString(c, "INFO {}\r\nPONG\r\n"); err != nil {
					return
				}
				for piece := bytes.Repeat([]byte(line), 1000); ; {
					if _, err := c.Write(piece); err != nil {
						return
					}
				}
			})
			source, err := scalertest.Open(t, openJetStream, jetStreamParams{
				monitoringParams: monitoringParams{Endpoint: page, Account: "$G"}, clientParams: clientParams{ClientEndpoint: address}, Stream: "orders", Consumer: "jobs",
			})
			if err != nil {
				t.Fatal(err)
			}
			h := listen(t, source)
			before := scalertest.Allocated()
			if err := await(t, "the end", h.failed); err == nil {
				t.Error("listening ended without an error")
			}
			if more := scalertest.Allocated() - before; more > 64<<20 {
				t.Errorf("%d bytes were allocated", more)
			}
		})
	}
}

// TestSubjectsWithoutEnd: whoever runs a monitoring port names as many subjects
// as they like, and what is remembered of them is bounded. Beyond it triggers are
// polled, and say so.
func TestSubjectsWithoutEnd(t *testing.T) {
	const consumers = 400
	var details []string
	for i := range consumers {
		details = append(details, fmt.Sprintf(`{"name": "jobs-%d", "num_pending": 0, "num_ack_pending": 0, "config": {"filter_subjects": ["%s"]}}`,
			i, strings.Join(names(fmt.Sprintf("%020d", i), mostSubjects), `", "`)))
	}
	page := answers(t, map[string]string{"/jsz": `{"server_id": "A", "account_details": [{"id": "$G", "stream_detail": [
		{"name": "orders", "config": {"subjects": ["orders"]}, "consumer_detail": [` + strings.Join(details, ",") + `]}]}]}`})
	for range 2 { // what is closed gives back what it held
		ctx, release := scaler.Opening(t.Context())
		var sources []scaler.Source
		for i := range consumers {
			source, err := openJetStream(ctx, jetStreamParams{
				monitoringParams: monitoringParams{Endpoint: page, Account: "$G"}, clientParams: clientParams{ClientEndpoint: "127.0.0.1:1"},
				Stream: "orders", Consumer: fmt.Sprint("jobs-", i),
			})
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, source)
		}
		all(t, sources, 0)
		kept, refused := 0, 0
		for _, source := range sources {
			s := source.(*consumerSource)
			kept += s.subjects.size()
			if s.subjects.names == "" {
				refused++
				err := s.Listen(within(t), func() {}, func() {})
				if !errors.Is(err, scaler.ErrDoorbellRefused) || !strings.Contains(err.Error(), "bytes of subjects that are listened to") {
					t.Errorf("one that there is no room for: %v", err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		release()
		if kept > mostOfSubjects || kept < mostOfSubjects/2 || refused == 0 || refused == consumers {
			t.Errorf("%d bytes of subjects are kept, and %d of %d triggers have none", kept, refused, consumers)
		}
	}
}
