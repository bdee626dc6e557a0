package serving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// planted are secrets as they may be: plain, within an address, and such that
// an address spells them otherwise.
var planted = map[string]string{
	"password":         "pl4nted/one two",
	"host":             "amqp://ann:pl4nted%2Ftwo@broker:5672/",
	"connectionString": "Endpoint=x;SharedAccessKey=pl4nted+three==",
}

// spellings are what nobody may see of them.
var spellings = []string{"pl4nted"}

type leakyParams struct {
	Name       string `param:"name,required"`
	Password   string `param:"password" from:"auth"`
	Host       string `param:"host" from:"auth"`
	Connection string `param:"connectionString" from:"auth"`
}

func (p leakyParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: "leaky-" + p.Name, Target: 5}}
}

// leaky puts its secrets into every error that it can: family code should not,
// and this is what happens if it does.
type leaky struct{ leakyParams }

func (l leaky) Read(context.Context) ([]contract.Reading, error) {
	switch l.Name {
	case "panics":
		panic(l.Password)
	case "plain":
		return nil, errors.New("login as " + l.Password + " failed")
	case "refused":
		return nil, status.Errorf(codes.Unauthenticated, "%s refused", l.Host)
	case "escaped":
		return nil, fmt.Errorf("get http://%s@broker/?q=%s: eof", url.PathEscape(l.Password), url.QueryEscape(l.Password))
	case "part":
		u, err := url.Parse(l.Host)
		if err != nil {
			return nil, err
		}
		secret, _ := u.User.Password()
		return nil, errors.New("login with " + secret + " or " + u.User.String() + " failed")
	case "key":
		return nil, errors.New("signature of " + l.Connection + " is wrong")
	}
	return contract.One(3), nil
}

// secrets resolves every reference to what was planted.
type secrets struct{}

func (secrets) Resolve(_ context.Context, ref contract.Reference) (*contract.Credentials, error) {
	if ref.Authentication == "TriggerAuthentication/gone" {
		return nil, status.Error(codes.NotFound, "it is gone")
	}
	return &contract.Credentials{Parameters: planted}, nil
}

// synced is a buffer for a log.
type synced struct {
	mu sync.Mutex
	bytes.Buffer
}

func (s *synced) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(text)
}

func (s *synced) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.String()
}

func TestNothingOfCredentialsIsSeen(t *testing.T) {
	log := &synced{}
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	before := slog.Default()
	slog.SetDefault(logger) // where panics are written
	defer slog.SetDefault(before)
	leaking := trigger.Define("leaky", func(_ context.Context, p leakyParams) (contract.Source, error) {
		if p.Name == "unopened" {
			return nil, errors.New("open with " + p.Password)
		}
		return leaky{p}, nil
	})
	server := New(Config{Family: "leaks", Triggers: []trigger.Trigger{leaking}, Resolver: secrets{}, Log: logger})
	conn := onLoopback(t, server)
	external := externalscaler.NewExternalScalerClient(conn)
	stream, err := scalerv1.NewScalerServiceClient(conn).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	names := []string{"fine", "panics", "plain", "refused", "escaped", "part", "key", "unopened", "gone"}
	for _, name := range names {
		ref := &externalscaler.ScaledObjectRef{Name: "app", Namespace: "shop", ScalerMetadata: map[string]string{
			scalerv1.KeyTriggerType: "leaky", "name": name, scalerv1.KeyAuthenticationRef: "TriggerAuthentication/" + name,
		}}
		answer, err := external.GetMetrics(t.Context(), &externalscaler.GetMetricsRequest{ScaledObjectRef: ref})
		if (err == nil) != (name == "fine") {
			t.Errorf("%s: error = %v", name, err)
		}
		_, activeErr := external.IsActive(t.Context(), ref)
		seen["answer to "+name] = fmt.Sprint(answer, err, activeErr)
		if err := stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{
			Id: "ScaledObject/shop/" + name + "/0", Generation: 1, Ref: ref, Interval: durationpb.New(time.Minute),
		}}}); err != nil {
			t.Fatal(err)
		}
	}
	seen["frames"] = frames(t, stream, len(names))
	description, err := scalerv1.NewScalerServiceClient(conn).Describe(t.Context(), &scalerv1.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	seen["description"] = prototext.Format(description)
	page := httptest.NewRecorder()
	server.handler().ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	seen["metrics"] = page.Body.String()
	seen["log"] = log.String()
	for where, text := range seen {
		for _, secret := range spellings {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s: ...%s...", where, text[max(0, at-120):min(len(text), at+40)])
			}
		}
	}
	if !strings.Contains(seen["log"], "panic in a scaler") || !strings.Contains(seen["frames"], "leaky-fine") {
		t.Error("there was not all to see that there should be")
	}
}

// frames reads until each subscription has an observation.
func frames(t *testing.T, stream grpc.BidiStreamingClient[scalerv1.WatchRequest, scalerv1.WatchResponse], count int) string {
	t.Helper()
	var text strings.Builder
	observed := map[string]bool{}
	for len(observed) < count {
		frame, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(prototext.Format(frame))
		if o := frame.GetObservation(); o != nil {
			observed[o.GetId()] = true
		}
	}
	return text.String()
}
