package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// TestNetwork cuts, stalls and slows the network to Moto, for every type.
func TestNetwork(t *testing.T) {
	m := servers.SharedMoto(t)
	proxy, err := fault.Listen(m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	for _, s := range everyType(t, m, "network") {
		t.Run(s.Type, func(t *testing.T) {
			source := s.openAt(t, "http://"+proxy.Addr())
			read := func(ctx context.Context, when string, want codes.Code) {
				t.Helper()
				got, err := source.Read(ctx)
				if status.Code(err) != want || err == nil && got[0].Value != s.value {
					t.Fatalf("%s: read %v, %v, want %v or %v", when, got, err, s.value, want)
				}
			}
			defer proxy.Heal()
			read(within(t), "at first", codes.OK)
			proxy.Cut()
			read(within(t), "cut", codes.Unavailable)
			proxy.Heal()
			read(within(t), "after the cut", codes.OK)
			proxy.Stall()
			impatient, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			read(impatient, "stalled", codes.DeadlineExceeded)
			proxy.Heal()
			read(within(t), "after the stall", codes.OK)
			proxy.Delay(50 * time.Millisecond)
			read(within(t), "slow", codes.OK)
		})
	}
}

// TestAnswersOfOthers has what Moto never says: refusals, half an answer and
// what is none. A handler says it, to every type.
func TestAnswersOfOthers(t *testing.T) {
	subjects := everyType(t, servers.SharedMoto(t), "refused")
	refusal := func(code string) string {
		return `{"__type":"com.amazonaws#` + code + `","message":"secret canonical request"}`
	}
	for name, tt := range map[string]struct {
		status int
		body   string
		early  bool // ends before its length
		code   codes.Code
		text   string
	}{
		"denied":            {status: 400, body: refusal("AccessDeniedException"), code: codes.PermissionDenied, text: "AccessDeniedException"},
		"a wrong key":       {status: 400, body: refusal("UnrecognizedClientException"), code: codes.Unauthenticated, text: "UnrecognizedClientException"},
		"an old token":      {status: 400, body: refusal("ExpiredTokenException"), code: codes.Unauthenticated, text: "ExpiredTokenException"},
		"a bad request":     {status: 400, body: refusal("InvalidAddress"), code: codes.FailedPrecondition, text: "InvalidAddress"},
		"an error":          {status: 500, body: "secret page", code: codes.Unavailable},
		"half an answer":    {body: `{"Attributes":{"ApproximateNumber`, code: codes.Unavailable, text: "the answer"},
		"an end too early":  {body: `{"Attributes":{"ApproximateNumber`, early: true, code: codes.Unavailable},
		"something else":    {body: `<html>secret</html>`, code: codes.Unavailable, text: "the answer"},
		"nothing in braces": {body: `{}`, code: codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			address := answering(t, cmp.Or(tt.status, http.StatusOK), tt.body, tt.early)
			for _, s := range subjects {
				t.Run(s.Type, func(t *testing.T) {
					t.Parallel()
					code, want := tt.code, s.what+tt.text
					if tt.body == `{}` {
						if want = s.lacking; want == "" {
							code = codes.OK
						}
					}
					family := scalertest.Serve(t, s.Trigger).WithAuth(keys)
					_, err := family.Observe(t.Context(), s.Type, at(address, s.metadata))
					checkError(t, s.Type, err, code, want)
					if err != nil && strings.Contains(err.Error(), "secret") {
						t.Errorf("the text of the server is in %v", err)
					}
				})
			}
		})
	}
}

// answering is the address of a server that says the same to everybody.
func answering(t testing.TB, code int, body string, early bool) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if early {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestRotatedKeys goes from keys that Moto refuses to keys that are good, for
// every type.
func TestRotatedKeys(t *testing.T) {
	m := servers.Moto(t)
	subjects := everyType(t, m, "rotated")
	id, secret, err := m.AddUser(t.Context(), "orders", everything)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.CheckLogins(t.Context()); err != nil {
		t.Fatal(err)
	}
	wrong := map[string]string{"awsAccessKeyID": id, "awsSecretAccessKey": "wrong-secret"}
	right := maps.Clone(wrong)
	right["awsSecretAccessKey"] = secret
	all := scalertest.Serve(t, triggers...)
	refused := func(o *scalerv1.Observation) bool {
		code := codes.Code(o.GetStatus().GetCode())
		return code == codes.Unauthenticated || code == codes.PermissionDenied
	}
	for _, s := range subjects {
		t.Run(s.Type, func(t *testing.T) {
			family := all.WithAuth(wrong)
			w := family.Watch(t, s.Type, at(m.URL(), s.metadata), scalerv1.Mode_MODE_ACTIVE, time.Second)
			if _, err := w.Until(within(t), "a refused login", refused); err != nil {
				t.Fatal(err)
			}
			family.Rotate(right)
			if _, err := w.Until(within(t), "a value", scalertest.Active); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestStalledSourcesStarveNoOther has more queues, tables and streams of one
// service that are not answered than are read at once. All others are answered
// in the same turn, the first.
func TestStalledSourcesStarveNoOther(t *testing.T) {
	tests := map[string]struct {
		named    string // the parameter that holds the name
		metadata map[string]string
		answer   string
	}{
		"aws-sqs-queue": {"queueURL", nil, `{"Attributes":{"ApproximateNumberOfMessages":"3","ApproximateNumberOfMessagesNotVisible":"0"}}`},
		"aws-dynamodb": {"tableName", map[string]string{"targetValue": "1", "keyConditionExpression": "#q = :q",
			"expressionAttributeNames": `{"#q":"queue"}`, "expressionAttributeValues": `{":q":{"S":"a"}}`}, `{"Count":3}`},
		"aws-kinesis-stream": {"streamName", nil, `{"StreamDescriptionSummary":{"OpenShardCount":3}}`},
	}
	for triggerType, tt := range tests {
		t.Run(triggerType, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				if text, _ := io.ReadAll(request.Body); bytes.Contains(text, []byte("stalled")) {
					<-request.Context().Done()
					return
				}
				w.Header().Set("Content-Type", "application/x-amz-json-1.0")
				_, _ = io.WriteString(w, tt.answer)
			}))
			t.Cleanup(server.Close)
			family := scalertest.Serve(t, triggers...).WithAuth(keys)
			watch := func(name string, i int) *scalertest.Watching {
				own := at(server.URL, tt.metadata, map[string]string{tt.named: fmt.Sprint(name, i)})
				return family.Watch(t, triggerType, own, scalerv1.Mode_MODE_ACTIVE, time.Hour)
			}
			for i := range 50 {
				watch("stalled", i)
			}
			for i := range 10 {
				if _, err := watch("q", i).Until(within(t), "active", scalertest.Active); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
