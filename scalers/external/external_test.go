package main

import (
	"context"
	"errors"
	"maps"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("external", ofUser)
var _ = cases.Add("external-push", ofUser)

// ofUser is the case of a type that asks a scaler of a user's.
func ofUser(t testing.TB) scalertest.Case {
	return scalertest.Case{
		Address: startServer(t, &userServer{
			streamActive: silent[externalscaler.IsActiveResponse],
			streamSpecs:  silent[externalscaler.GetMetricSpecResponse],
		}).address,
		At: func(address string) map[string]string { return map[string]string{"scalerAddress": address} },
	}
}

// TestAnswers goes from what a server says to what the autoscaler is told.
func TestAnswers(t *testing.T) {
	answer := func(list ...*externalscaler.MetricValue) func(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
		return func(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
			return values(list...), nil
		}
	}
	naming := func(list ...*externalscaler.MetricSpec) func(*externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
		return func(*externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
			return specs(list...), nil
		}
	}
	tests := map[string]struct {
		server   *userServer // a well-behaved one when nil
		reserved map[string]string
		want     map[string]float64
		targets  map[string]float64 // jobs with 5 when nil
		inactive bool
		code     codes.Code
		message  string // after "external: server <address>: "
	}{
		"a float": {want: map[string]float64{"jobs": 7}},
		"integers alone, as old servers say": {
			server: &userServer{
				specs:   naming(&externalscaler.MetricSpec{MetricName: "jobs", TargetSize: 3}), //nolint:staticcheck // old servers
				metrics: answer(integer(12)),
			},
			want: map[string]float64{"jobs": 12}, targets: map[string]float64{"jobs": 3}},
		"the float wins": {
			server: &userServer{
				specs:   naming(&externalscaler.MetricSpec{MetricName: "jobs", TargetSize: 3, TargetSizeFloat: 0.25}), //nolint:staticcheck // old servers
				metrics: answer(&externalscaler.MetricValue{MetricValue: 3, MetricValueFloat: 2.5}),                   //nolint:staticcheck // old servers
			},
			want: map[string]float64{"jobs": 2.5}, targets: map[string]float64{"jobs": 0.25}},
		"a zero is a value": {
			server: &userServer{metrics: answer(float(0)), active: func(context.Context) (bool, error) { return false, nil }},
			want:   map[string]float64{"jobs": 0}, inactive: true},
		"activity is the server's word, not the value's": {
			server: &userServer{metrics: answer(float(0))}, want: map[string]float64{"jobs": 0}},
		"a value without activity": {
			server: &userServer{active: func(context.Context) (bool, error) { return false, nil }},
			want:   map[string]float64{"jobs": 7}, inactive: true},
		"values are added up, whatever they are called": {
			server: &userServer{metrics: answer(float(1.5), integer(2), &externalscaler.MetricValue{MetricName: "s0-other", MetricValueFloat: 4})},
			want:   map[string]float64{"jobs": 7.5}},
		"names are passed on as they are": {
			server: &userServer{specs: naming(spec("A/b.c:d%e(f) @x", 2))},
			want:   map[string]float64{"A/b.c:d%e(f) @x": 7}, targets: map[string]float64{"A/b.c:d%e(f) @x": 2}},
		"several metrics": {
			server: &userServer{
				specs: naming(spec("a", 1), spec("b", 2)),
				metrics: func(_ context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
					return values(float(float64(len(r.GetMetricName()) + strings.Index("ab", r.GetMetricName())))), nil
				},
			},
			want: map[string]float64{"a": 1, "b": 2}, targets: map[string]float64{"a": 1, "b": 2}},
		"a name that comes twice counts once": {
			server: &userServer{specs: naming(spec("jobs", 5), spec("jobs", 5))}, want: map[string]float64{"jobs": 7}},
		"a negative value is told as zero": {
			server: &userServer{metrics: answer(integer(-4))}, want: map[string]float64{"jobs": 0}},
		"a negative value takes nothing from others": {
			server: &userServer{metrics: answer(integer(-4), float(6))}, want: map[string]float64{"jobs": 6}},
		"a negative float gives way to the integer": {
			server: &userServer{metrics: answer(&externalscaler.MetricValue{MetricValue: 6, MetricValueFloat: -1})}, //nolint:staticcheck // old servers
			want:   map[string]float64{"jobs": 6}},
		"a huge value": {server: &userServer{metrics: answer(float(1e300))}, want: map[string]float64{"jobs": 1e300}},
		"any target serves a formula": {
			server:   &userServer{specs: naming(spec("jobs", math.NaN()))},
			reserved: map[string]string{scalerv1.KeyMetricSource: "true"},
			want:     map[string]float64{"jobs": 7}, targets: map[string]float64{"jobs": 0}},

		"no values are no data": {
			server: &userServer{metrics: answer()}, code: codes.NotFound, message: "metric jobs: no data: the answer is empty"},
		"NaN is no data": {
			server: &userServer{metrics: answer(float(math.NaN()))}, code: codes.NotFound,
			message: "metric jobs: no data: NaN is not a finite number"},
		"so is infinity": {
			server: &userServer{metrics: answer(float(math.Inf(-1)))}, code: codes.NotFound,
			message: "metric jobs: no data: -Inf is not a finite number"},
		"and a sum that is too large": {
			server: &userServer{metrics: answer(float(math.MaxFloat64), float(math.MaxFloat64))}, code: codes.NotFound,
			message: "metric jobs: no data: +Inf is not a finite number"},
		"no metrics": {
			server: &userServer{specs: naming()}, code: codes.Unavailable, message: "GetMetricSpec: names no metrics"},
		"too many metrics": {
			server: &userServer{specs: naming(make([]*externalscaler.MetricSpec, 101)...)}, code: codes.Unavailable,
			message: "GetMetricSpec: names 101 metrics, more than 20"},
		"a metric without name": {
			server: &userServer{specs: naming(spec("", 1))}, code: codes.Unavailable, message: "GetMetricSpec: a metric has no name"},
		"a name without end": {
			server: &userServer{specs: naming(spec(strings.Repeat("x", 2000), 1))}, code: codes.Unavailable,
			message: "GetMetricSpec: metric " + strings.Repeat("x", 32) + "...: the name is longer than 1024 bytes"},
		"a target that is none": {
			server: &userServer{specs: naming(spec("jobs", -2))}, code: codes.Unavailable,
			message: "GetMetricSpec: metric jobs: target 0 is not greater than 0"},
		"an infinite target": {
			server: &userServer{specs: naming(spec("jobs", math.Inf(1)))}, code: codes.Unavailable,
			message: "GetMetricSpec: metric jobs: target +Inf is not a finite number"},
		"a target that rounds to nothing": {
			server: &userServer{specs: naming(spec("jobs", 0.0001))}, code: codes.Unavailable,
			message: "GetMetricSpec: metric jobs: target 0.0001 is 0 when rounded to thousandths"},
		"two targets of one metric": {
			server: &userServer{specs: naming(spec("jobs", 1), spec("jobs", 2))}, code: codes.Unavailable,
			message: "GetMetricSpec: metric jobs: has the targets 1 and 2"},
		"no specs": {
			server: &userServer{specs: func(*externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
				return nil, status.Error(codes.InvalidArgument, "counter: is required")
			}},
			code: codes.InvalidArgument, message: "GetMetricSpec: InvalidArgument: counter: is required"},
		"no metric": {
			server: &userServer{metrics: func(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
				return nil, errors.New("boom")
			}},
			code: codes.Unavailable, message: "GetMetrics: Unknown: boom"},
		"no activity": {
			server: &userServer{active: func(context.Context) (bool, error) {
				return false, status.Error(codes.FailedPrecondition, "not yet")
			}},
			code: codes.Unavailable, message: "IsActive: FailedPrecondition: not yet"},
		"a server that waited in vain says so": {
			server: &userServer{active: func(context.Context) (bool, error) {
				return false, status.Error(codes.DeadlineExceeded, "the broker is slow")
			}},
			code: codes.DeadlineExceeded, message: "IsActive: DeadlineExceeded: the broker is slow"},
		"a refused login stays one": {
			server: &userServer{metrics: func(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
				return nil, status.Error(codes.Unauthenticated, "who are you")
			}},
			code: codes.Unauthenticated, message: "GetMetrics: Unauthenticated: who are you"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.server == nil {
				tt.server = &userServer{}
			}
			s := startServer(t, tt.server)
			family := scalertest.Serve(t, triggers...).WithReserved(tt.reserved)
			metadata := map[string]string{"scalerAddress": s.address}
			got, active, err := family.ObserveAll(t.Context(), "external", metadata)
			if tt.code != codes.OK {
				want := "external: server " + s.address + ": " + tt.message
				if status.Code(err) != tt.code || status.Convert(err).Message() != want {
					t.Fatalf("error = %v, want %v %q", err, tt.code, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, tt.want) || active == tt.inactive {
				t.Errorf("observation = %v, %v, want %v, %v", got, active, tt.want, !tt.inactive)
			}
			if tt.targets == nil {
				tt.targets = map[string]float64{"jobs": 5}
			}
			if targets := targetsOf(t, family, "external", metadata); !maps.Equal(targets, tt.targets) {
				t.Errorf("targets = %v, want %v", targets, tt.targets)
			}
		})
	}
}

func targetsOf(t *testing.T, family *scalertest.Family, kind string, metadata map[string]string) map[string]float64 {
	t.Helper()
	list, err := family.Specs(t.Context(), kind, metadata)
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]float64{}
	for _, spec := range list {
		targets[spec.GetMetricName()] = spec.GetTargetSizeFloat()
	}
	return targets
}

// TestMetadata: the server gets the trigger's metadata as the user wrote it,
// with variables under their full key, and nothing of ours.
func TestMetadata(t *testing.T) {
	s := startServer(t, &userServer{})
	family := scalertest.Serve(t, triggers...).
		WithEnv(map[string]string{"TOKEN": " t0ken ", "BLANK": " "}).
		WithAuth(map[string]string{"password": "wonderland"}).
		WithReserved(map[string]string{scalerv1.KeyTriggerIndex: "3", scalerv1.KeyPollingInterval: "1m"})
	metadata := map[string]string{
		"scalerAddress": s.address, "unsafeSsl": "true", "queue": "orders", "empty": "",
		"tokenFromEnv": "TOKEN", "blankFromEnv": "BLANK", "absentFromEnv": "ABSENT",
	}
	if _, err := family.Observe(t.Context(), "external", metadata); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"scalerAddress": s.address, "unsafeSsl": "true", "queue": "orders", "empty": "", "tokenFromEnv": "t0ken",
	}
	for _, ref := range s.refs {
		if ref.GetName() != "app" || ref.GetNamespace() != "default" || !maps.Equal(ref.GetScalerMetadata(), want) {
			t.Errorf("the server got %v, want %v of default/app", ref, want)
		}
	}
	for _, call := range []string{"GetMetricSpec", "GetMetrics jobs", "IsActive"} {
		if s.count(call) == 0 {
			t.Errorf("no call of %s", call)
		}
	}
}

func TestDroppedVariablesAreSaid(t *testing.T) {
	s := startServer(t, &userServer{})
	family := scalertest.Serve(t, triggers...).WithEnv(map[string]string{"BLANK": " "})
	stream, err := family.Scaler.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ref := family.Ref("external", map[string]string{"scalerAddress": s.address, "blankFromEnv": "BLANK", "absentFromEnv": "ABSENT"})
	err = stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{Id: "a", Generation: 1, Ref: ref}}})
	if err != nil {
		t.Fatal(err)
	}
	want := "absentFromEnv: not sent, variable ABSENT has no value; blankFromEnv: not sent, variable BLANK has no value"
	for {
		frame, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(frame.GetAccepted().GetWarnings(), "; "); got == want {
			return
		}
	}
}

func TestParameters(t *testing.T) {
	tests := map[string]struct {
		metadata map[string]string // on top of a valid trigger
		auth     map[string]string
		message  string
	}{
		"no address":    {metadata: map[string]string{"scalerAddress": " "}, message: "scalerAddress: is required (looked in metadata)"},
		"enableTLS":     {metadata: map[string]string{"enableTLS": "yes"}, message: `enableTLS: "yes" is neither true nor false`},
		"unsafeSsl":     {metadata: map[string]string{"unsafeSsl": "on"}, message: `unsafeSsl: "on" is neither true nor false`},
		"tlsCertFile":   {metadata: map[string]string{"tlsCertFile": "/ca.pem"}, message: "tlsCertFile: was removed: put the certificates into parameter caCert of a TriggerAuthentication"},
		"key alone":     {metadata: map[string]string{"enableTLS": "true"}, auth: map[string]string{"tlsClientKey": "k"}, message: "tlsClientCert: is required with tlsClientKey"},
		"cert alone":    {auth: map[string]string{"tlsClientCert": "c"}, message: "tlsClientKey: is required with tlsClientCert"},
		"CA":            {auth: map[string]string{"caCert": "s3cret no PEM"}, message: "caCert: holds no PEM certificate"},
		"pair":          {auth: map[string]string{"tlsClientCert": "s3cret", "tlsClientKey": "s3cret"}, message: "tlsClientKey: is not PEM"},
		"address":       {metadata: map[string]string{"scalerAddress": "dns://%zz"}, message: "scalerAddress: has to be host:port"},
		"a target":      {metadata: map[string]string{"scalerAddress": "dns:///s:80"}, message: "scalerAddress: has to be host:port alone: write s:80"},
		"a user":        {metadata: map[string]string{"scalerAddress": "u:s3cret@s:80"}, message: "scalerAddress: has to be host:port"},
		"metadata":      {metadata: map[string]string{"scalerAddress": "[fd00:ec2::23]:80"}, message: "scalerAddress: fd00:ec2::23 is a link-local address or a cloud's metadata service"},
		"the machine":   {metadata: map[string]string{"scalerAddress": "0.0.0.0:80"}, message: "scalerAddress: 0.0.0.0 is an address of the machine itself"},
		"a spelling":    {metadata: map[string]string{"scalerAddress": "0x7f.1:80"}, message: "scalerAddress: 0x7f.1 is an IP address in a notation that not all programs read alike"},
		"encrypted key": {auth: map[string]string{"tlsClientCert": "c", "tlsClientKey": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"}, message: "tlsClientKey: is encrypted; put it in without a password"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := map[string]string{"scalerAddress": "127.0.0.1:1"}
			maps.Copy(metadata, tt.metadata)
			for _, trigger := range triggers {
				family := scalertest.Serve(t, trigger)
				if tt.auth != nil {
					family = family.WithAuth(tt.auth)
				}
				_, err := family.Observe(t.Context(), trigger.Type, metadata)
				if status.Code(err) != codes.InvalidArgument || !strings.HasPrefix(status.Convert(err).Message(), trigger.Type+": "+tt.message) {
					t.Errorf("error = %v, want %q", err, trigger.Type+": "+tt.message)
				}
				if strings.Contains(status.Convert(err).Message(), "s3cret") {
					t.Errorf("a secret is in %v", err)
				}
			}
		})
	}
}

// TestSpecsFollowTheServer: once the server has been found to have no stream of
// them they are asked for before every read, so that a change of the server's
// needs no change of the object.
func TestSpecsFollowTheServer(t *testing.T) {
	var list atomic.Pointer[externalscaler.GetMetricSpecResponse]
	s := startServer(t, &userServer{specs: func(*externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
		return list.Load(), nil
	}})
	family := scalertest.Serve(t, triggers...)
	metadata := map[string]string{"scalerAddress": s.address}
	for _, next := range []*externalscaler.GetMetricSpecResponse{specs(spec("jobs", 5)), specs(spec("jobs", 10)), specs(spec("tasks", 1), spec("more", 2))} {
		list.Store(next)
		want := map[string]float64{}
		for _, spec := range next.GetMetricSpecs() {
			want[spec.GetMetricName()] = 7
		}
		observed(t, family, metadata, want)
	}
}

// observed waits until the server's metrics are seen: what was asked for
// before a change may still be on its way.
func observed(t *testing.T, family *scalertest.Family, metadata map[string]string, want map[string]float64) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		got, _, err := family.ObserveAll(t.Context(), "external", metadata)
		if err == nil && maps.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("observed %v, %v, want %v", got, err, want)
		}
	}
}

// TestCallsAreBounded: a server that never answers a call costs the read its
// deadline and leaves nothing behind.
func TestCallsAreBounded(t *testing.T) {
	never := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	tests := map[string]*userServer{
		"GetMetrics": {metrics: func(ctx context.Context, _ *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
			return nil, never(ctx)
		}},
		"IsActive": {active: func(ctx context.Context) (bool, error) { return false, never(ctx) }},
	}
	for call, s := range tests {
		t.Run(call, func(t *testing.T) {
			startServer(t, s)
			source, err := scalertest.Open(t, openExternal, externalParams{ScalerAddress: s.address})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := source.(scaler.Specced).Specs(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err = source.Read(ctx)
			want := "server " + s.address + ": " + call + ": no answer in time"
			if status.Code(err) != codes.DeadlineExceeded || status.Convert(err).Message() != want {
				t.Errorf("error = %v, want %s", err, want)
			}
		})
	}
}

// TestServerComesBack: nothing is made anew after a server was away.
func TestServerComesBack(t *testing.T) {
	first := startServer(t, &userServer{})
	source, err := scalertest.Open(t, openExternal, externalParams{ScalerAddress: first.address})
	if err != nil {
		t.Fatal(err)
	}
	specced := source.(scaler.Specced)
	if _, err := specced.Specs(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.server.Stop()
	if _, err := source.Read(t.Context()); status.Code(err) != codes.Unavailable {
		t.Errorf("error = %v, want Unavailable", err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", first.address)
	if err != nil {
		t.Fatal(err)
	}
	startServerOn(t, &userServer{}, l)
	for {
		if _, err := specced.Specs(t.Context()); err == nil {
			break
		} else if t.Context().Err() != nil {
			t.Fatal(err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	readings, err := source.Read(t.Context())
	if err != nil || len(readings) != 1 || readings[0].Value != 7 {
		t.Errorf("read %v, %v, want 7", readings, err)
	}
}

// TestWhatANameLeadsToIsJudged: a name server may say anything.
func TestWhatANameLeadsToIsJudged(t *testing.T) {
	for _, address := range []string{"169.254.169.254:80", "[fd00:ec2::23]:80", "0.0.0.0:9091"} {
		conn, err := connect(new(client.Dialer), "servers:9090", insecure.NewCredentials(), both(address))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (&externalSource{conn: conn}).Specs(t.Context()); err == nil || !strings.Contains(err.Error(), " is a") {
			t.Errorf("%s: %v", address, err)
		}
		conn.Close()
	}
}

// TestReadsGoRound: all addresses of a name are used.
func TestReadsGoRound(t *testing.T) {
	a, b := startServer(t, &userServer{}), startServer(t, &userServer{})
	conn, err := connect(new(client.Dialer), "servers:9090", insecure.NewCredentials(), both(a.address, b.address))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	specced := &externalSource{conn: conn}
	for a.count("GetMetricSpec") == 0 || b.count("GetMetricSpec") == 0 {
		if _, err := specced.Specs(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := a.count("GetMetricSpec") + b.count("GetMetricSpec")
	onA := a.count("GetMetricSpec")
	for range 10 {
		if _, err := specced.Specs(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if a.count("GetMetricSpec")-onA != 5 || a.count("GetMetricSpec")+b.count("GetMetricSpec")-before != 10 {
		t.Errorf("%d of 10 calls went to one of two servers, want 5", a.count("GetMetricSpec")-onA)
	}
}
