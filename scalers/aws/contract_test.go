package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// kind is a trigger type, and what tests of every type know of it.
type kind struct {
	// make makes what its trigger reads, of this name.
	make     func(t testing.TB, m *servers.MotoServer, name string)
	metadata func(name string) map[string]string // less the place
	value    float64                             // what is read of what make made
	what     string                              // how its errors begin, with NAME in it
	// lacking is the error of an answer that has nothing in it; empty where that
	// is no data, and not an error by default.
	lacking string
}

// kinds has valid metadata of every type, of which cases are made.
var (
	kinds = map[string]kind{}
	cases = scalertest.Cases{}
)

// contract adds the case of a type.
func contract(triggerType string, k kind) bool {
	kinds[triggerType] = k
	return cases.Add(triggerType, func(t testing.TB) scalertest.Case {
		m := servers.SharedMoto(t)
		k.make(t, m, "contract")
		return scalertest.Case{
			Address: m.Addr(),
			At:      func(address string) map[string]string { return at("http://"+address, k.metadata("contract")) },
			Auth:    keys,
			OnePart: "all metrics are asked of one endpoint; tests of the family have one of the requests stall",
		}
	})
}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

// subject is a trigger of one type.
type subject struct {
	scaler.Trigger

	metadata map[string]string // less the place
	value    float64
	what     string // how its errors begin
	lacking  string // as in kind
}

// openAt opens a source whose service answers at address. It ends with the test.
func (s subject) openAt(t testing.TB, address string) scaler.Source {
	t.Helper()
	family := scalertest.Serve(t, s.Trigger).WithAuth(keys)
	bound, err := s.Bind(family.Ref(s.Type, at(address, s.metadata)), &scaler.Credentials{Parameters: keys})
	if err != nil {
		t.Fatal(err)
	}
	opening, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	source, err := bound.Open(opening)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// everyType is a trigger of each type, on things of this name that it makes.
func everyType(t testing.TB, m *servers.MotoServer, name string) []subject {
	t.Helper()
	types := typesOn(name)
	for _, s := range types {
		kinds[s.Type].make(t, m, name)
	}
	return types
}

// typesOn is a trigger of each type, on things of this name. Types without a
// case are TestContract's to tell.
func typesOn(name string) (all []subject) {
	for _, trigger := range triggers {
		if k, has := kinds[trigger.Type]; has {
			named := strings.NewReplacer("NAME", name)
			all = append(all, subject{trigger, k.metadata(name), k.value, named.Replace(k.what), named.Replace(k.lacking)})
		}
	}
	return all
}

// TestEnvironment has every parameter of these types that can be taken from a
// variable.
func TestEnvironment(t *testing.T) {
	login := []string{"awsAccessKeyID", "awsSecretAccessKey"}
	all := map[string][]string{
		"aws-cloudwatch": login, "aws-dynamodb": login, "aws-dynamodb-streams": login, "aws-kinesis-stream": login,
		"aws-sqs-queue": append(slices.Clone(login), "queueURL"),
	}
	for _, s := range typesOn("environment") {
		want, listed := all[s.Type]
		// With the family's identity, one key alone is no mistake.
		metadata := at("http://localhost", s.metadata, map[string]string{"identityOwner": "operator"})
		if got := scalertest.FromEnv(s.Trigger, metadata); listed && !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", s.Type, got, want)
		}
	}
}

// TestTemporaryKeys sends all three parts of keys that end.
func TestTemporaryKeys(t *testing.T) {
	var token atomic.Value
	token.Store("")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token.Store(r.Header.Get("X-Amz-Security-Token"))
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer s.Close()
	temporary := maps.Clone(keys)
	temporary["awsSessionToken"] = "of-a-session"
	for _, subject := range typesOn("temporary") {
		_, _ = scalertest.Serve(t, triggers...).WithAuth(temporary).Observe(t.Context(), subject.Type, at(s.URL, subject.metadata))
		if got := token.Swap(""); got != "of-a-session" {
			t.Errorf("%s: the session token is %q", subject.Type, got)
		}
	}
}

// TestAThousandQueuesShareConnections reads queues as the sampler does, 32 at
// once. A handler stands in for SQS, to count connections.
func TestAThousandQueuesShareConnections(t *testing.T) {
	h := newHandler(t, func(string, map[string]any) (int, string) {
		return 200, `{"Attributes":{"ApproximateNumberOfMessages":"3"}}`
	})
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	var sources []scaler.Source
	for range 1000 {
		source, err := openSQS(ctx, sqsParams{awsParams: params(h), QueueURL: "orders"})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, source)
	}
	for _, got := range scalertest.ReadAtOnce(t, sources) {
		if got[0].Value != 3 {
			t.Errorf("read %v", got)
		}
	}
	// One for each read at once. net/http gives up a connection now and then
	// when the machine is too busy to tell that its request was written.
	if n := h.connections.Load(); h.requests() != 1000 || n > 300 {
		t.Errorf("%d requests over %d connections", h.requests(), n)
	}
}
