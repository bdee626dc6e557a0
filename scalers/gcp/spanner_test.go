package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/spanner/apiv1/spannerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

// spannerServer stands in for Cloud Spanner: it checks who asks, the headers, the
// session and the transaction, and has an answer for each query that it knows.
type spannerServer struct {
	spannerpb.UnimplementedSpannerServer

	issuer *gcloud.Issuer // nil for an emulator
	addr   string

	mu       sync.Mutex
	sessions map[string]bool
	made     int
	answers  map[string][]*spannerpb.PartialResultSet
	before   func(context.Context, *spannerpb.ExecuteSqlRequest) error
}

const ordersDatabase = "projects/shop/instances/main/databases/orders"

func newSpanner(t testing.TB, issuer *gcloud.Issuer) *spannerServer {
	t.Helper()
	s := &spannerServer{issuer: issuer, sessions: map[string]bool{}, answers: map[string][]*spannerpb.PartialResultSet{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	server := grpc.NewServer()
	spannerpb.RegisterSpannerServer(server, s)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	askAt(t, &spannerAt, s.addr)
	return s
}

// admit checks who asks, and for which database.
func (s *spannerServer) admit(ctx context.Context, parameter, name string) error {
	headers, _ := metadata.FromIncomingContext(ctx)
	if s.issuer == nil {
		if len(headers.Get("authorization")) > 0 {
			return status.Error(codes.Internal, "a token for an emulator")
		}
	} else {
		token, good := s.issuer.Check(strings.Join(headers.Get("authorization"), ","))
		switch {
		case !good:
			return status.Error(codes.Unauthenticated, "Request had invalid authentication credentials.")
		case token.Scope != "https://www.googleapis.com/auth/spanner.data", token.Account != reader && token.Account != gcloud.Node:
			return status.Error(codes.PermissionDenied, "Caller is missing IAM permission spanner.sessions.create on resource "+name)
		}
	}
	if database, _, _ := strings.Cut(name, "/sessions/"); !slices.Equal(headers.Get("google-cloud-resource-prefix"), []string{database}) {
		return status.Error(codes.InvalidArgument, "the resource prefix is wrong")
	}
	if !slices.Equal(headers.Get("x-goog-request-params"), []string{parameter + "=" + url.QueryEscape(name)}) {
		return status.Error(codes.InvalidArgument, "the routing header is wrong")
	}
	return nil
}

func (s *spannerServer) CreateSession(ctx context.Context, r *spannerpb.CreateSessionRequest) (*spannerpb.Session, error) {
	if err := s.admit(ctx, "database", r.GetDatabase()); err != nil {
		return nil, err
	}
	if r.GetDatabase() != ordersDatabase {
		return nil, status.Error(codes.NotFound, "Database not found: "+r.GetDatabase())
	}
	if !r.GetSession().GetMultiplexed() {
		return nil, status.Error(codes.InvalidArgument, "session")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	name := fmt.Sprintf("%s/sessions/%d", r.GetDatabase(), s.made)
	s.sessions[name] = true
	return &spannerpb.Session{Name: name, Multiplexed: true}, nil
}

//nolint:revive // the name is Google's
func (s *spannerServer) ExecuteStreamingSql(r *spannerpb.ExecuteSqlRequest, to spannerpb.Spanner_ExecuteStreamingSqlServer) error {
	if err := s.admit(to.Context(), "session", r.GetSession()); err != nil {
		return err
	}
	s.mu.Lock()
	known, before := s.sessions[r.GetSession()], s.before
	answer, understood := s.answers[r.GetSql()]
	s.mu.Unlock()
	if before != nil {
		if err := before(to.Context(), r); err != nil {
			return err
		}
	}
	switch {
	case !known:
		return status.Error(codes.NotFound, "Session not found: "+r.GetSession())
	case !r.GetTransaction().GetSingleUse().GetReadOnly().GetStrong() && !strings.HasPrefix(r.GetSql(), "stale"):
		return status.Error(codes.FailedPrecondition, "the transaction is no strong read")
	case strings.HasPrefix(r.GetSql(), "stale") && r.GetTransaction().GetSingleUse().GetReadOnly().GetMaxStaleness().AsDuration() != 15*time.Second:
		return status.Error(codes.FailedPrecondition, "the transaction is no read of 15 s ago")
	case !understood:
		return status.Error(codes.InvalidArgument, "Syntax error: "+r.GetSql())
	}
	for _, part := range answer {
		if err := to.Send(part); err != nil {
			return err
		}
	}
	if strings.Contains(r.GetSql(), "endless") {
		for to.Context().Err() == nil {
			if err := to.Send(&spannerpb.PartialResultSet{Values: []*structpb.Value{structpb.NewStringValue(strings.Repeat("7", 1<<19))}, ChunkedValue: true}); err != nil {
				return err
			}
		}
		return to.Context().Err()
	}
	return nil
}

// result is the answer to a query with one column, and rows of it.
func result(code spannerpb.TypeCode, rows ...*structpb.Value) []*spannerpb.PartialResultSet {
	return []*spannerpb.PartialResultSet{{
		Metadata: &spannerpb.ResultSetMetadata{RowType: &spannerpb.StructType{Fields: []*spannerpb.StructType_Field{
			{Name: "waiting", Type: &spannerpb.Type{Code: code}}, {Name: "other", Type: &spannerpb.Type{Code: spannerpb.TypeCode_STRING}},
		}}}, Values: rows,
	}}
}

func TestSpanner(t *testing.T) {
	c := newCloud(t)
	s := newSpanner(t, c.issuer)
	text, number := structpb.NewStringValue, structpb.NewNumberValue
	const i64, f64, numeric = spannerpb.TypeCode_INT64, spannerpb.TypeCode_FLOAT64, spannerpb.TypeCode_NUMERIC
	chunked := result(numeric, text("12"))
	chunked[0].ChunkedValue = true
	chunked = append(chunked, &spannerpb.PartialResultSet{Values: []*structpb.Value{text("3.5"), text("x")}})
	endless := result(i64)
	s.answers = map[string][]*spannerpb.PartialResultSet{
		"count": result(i64, text("7"), text("x"), text("8")), "zero": result(i64, text("0")), "stale": result(i64, text("6")), "none": result(i64), "negative": result(i64, text("-3")),
		"null": result(i64, structpb.NewNullValue()), "average": result(f64, number(2.5)), "numeric": result(numeric, text("2.25")), "chunks": chunked,
		"text": result(spannerpb.TypeCode_STRING, text("7")), "nan": result(f64, text("NaN")), "infinite": result(f64, number(math.Inf(1))),
		"words": result(i64, text("many")), "endless": endless, "later": append(result(i64), result(i64, text("4"))...),
	}
	stranger, err := c.issuer.Key("stranger@shop.iam.gserviceaccount.com", "shop")
	if err != nil {
		t.Fatal(err)
	}
	const wrong = `gcp-spanner: database ` + ordersDatabase + `: the first column "waiting" is neither INT64, FLOAT64 nor NUMERIC, or is NULL`
	tests := map[string]struct {
		metadata, auth map[string]string
		value          float64
		code           codes.Code
		message        string
	}{
		"a count":             {metadata: map[string]string{"query": "count"}, value: 7},
		"a count of late":     {metadata: map[string]string{"query": "stale", "maxStaleness": "15s"}, value: 6},
		"an age below zero":   {metadata: map[string]string{"query": "count", "maxStaleness": "-1s"}, code: codes.InvalidArgument},
		"zero":                {metadata: map[string]string{"query": "zero"}},
		"no row":              {metadata: map[string]string{"query": "none"}},
		"below zero":          {metadata: map[string]string{"query": "negative"}, value: 0},
		"an average":          {metadata: map[string]string{"query": "average"}, value: 2.5},
		"a numeric":           {metadata: map[string]string{"query": "numeric"}, value: 2.25},
		"a value in chunks":   {metadata: map[string]string{"query": "chunks"}, value: 123.5},
		"a value later":       {metadata: map[string]string{"query": "later"}, value: 4},
		"NULL":                {metadata: map[string]string{"query": "null"}, code: codes.FailedPrecondition, message: wrong},
		"a text":              {metadata: map[string]string{"query": "text"}, code: codes.FailedPrecondition, message: wrong},
		"an INT64 of words":   {metadata: map[string]string{"query": "words"}, code: codes.FailedPrecondition, message: wrong},
		"a value without end": {metadata: map[string]string{"query": "endless"}, code: codes.FailedPrecondition, message: wrong},
		"NaN":                 {metadata: map[string]string{"query": "nan"}, code: codes.FailedPrecondition},
		"infinity":            {metadata: map[string]string{"query": "infinite"}, code: codes.FailedPrecondition},
		"no SQL":              {metadata: map[string]string{"query": "DROP TABLE orders"}, code: codes.InvalidArgument, message: "gcp-spanner: database " + ordersDatabase + ": Google Cloud Spanner: InvalidArgument: Syntax error: DROP TABLE orders"},
		"another database":    {metadata: map[string]string{"query": "count", "databaseId": "nothing"}, code: codes.NotFound},
		"no permission":       {metadata: map[string]string{"query": "count"}, auth: map[string]string{"GoogleApplicationCredentials": stranger}, code: codes.PermissionDenied},
		"a wrong key":         {metadata: map[string]string{"query": "count"}, auth: map[string]string{"GoogleApplicationCredentials": "hush-hush"}, code: codes.InvalidArgument},
		"nothing":             {metadata: map[string]string{"projectId": "", "instanceId": "", "databaseId": ""}, code: codes.InvalidArgument},
		"no target":           {metadata: map[string]string{"query": "count", "targetValue": "0"}, code: codes.InvalidArgument, message: "gcp-spanner: targetValue: target 0 is not greater than 0"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			auth := c.auth()
			if tt.auth != nil {
				auth = tt.auth
			}
			got, err := family.WithAuth(auth).Observe(within(t), "gcp-spanner", with(ordersAt, tt.metadata))
			if status.Code(err) != tt.code || err == nil && got.Value != tt.value || err != nil && strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("observation = %+v, %v, want %v, %v", got, err, tt.value, tt.code)
			}
			if tt.message != "" && status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v, want %s", err, tt.message)
			}
		})
	}
	specs, err := family.WithAuth(c.auth()).Specs(within(t), "gcp-spanner", with(ordersAt, map[string]string{"query": "count"}))
	if err != nil || specs[0].GetMetricName() != "gcp-spanner-main-orders-shop" || specs[0].GetTargetSizeFloat() != 5 {
		t.Errorf("%v, %v", specs, err)
	}
}

// ordersAt is the metadata of where a trigger asks.
var ordersAt = map[string]string{"projectId": "shop", "instanceId": "main", "databaseId": "orders"}

// TestSpannerEmulator is asked by nobody, and needs none.
func TestSpannerEmulator(t *testing.T) {
	s := newSpanner(t, nil)
	s.answers["count"] = result(spannerpb.TypeCode_INT64, structpb.NewStringValue("7"))
	t.Setenv("SPANNER_EMULATOR_HOST", s.addr)
	got, err := scalertest.Serve(t, triggers...).Observe(within(t), "gcp-spanner", with(ordersAt, map[string]string{"query": "count"}))
	if err != nil || got.Value != 7 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestSpannerSessions are shared, and made again where Google has forgotten them.
func TestSpannerSessions(t *testing.T) {
	c := newCloud(t)
	s := newSpanner(t, c.issuer)
	open := c.opener(t)
	var sources []scaler.Source
	for i := range 1000 {
		query := fmt.Sprintf("count %d", i)
		s.answers[query] = result(spannerpb.TypeCode_INT64, structpb.NewStringValue(fmt.Sprint(i)))
		sources = append(sources, open(subject{Trigger: spanner, metadata: with(ordersAt, map[string]string{"query": query})}))
	}
	for round := range 2 {
		sum := 0.0
		for _, got := range scalertest.ReadAtOnce(t, sources) { // in any order
			sum += got[0].Value
		}
		if sum != 999*1000/2 {
			t.Errorf("the values come to %v", sum)
		}
		s.mu.Lock()
		if s.made != round+1 {
			t.Errorf("%d sessions in round %d", s.made, round)
		}
		clear(s.sessions)
		s.mu.Unlock()
	}
	if n := c.issuer.Given(); n != 1 {
		t.Errorf("%d tokens", n)
	}
}

// TestSpannerFaults has it refuse, stall and throttle.
func TestSpannerFaults(t *testing.T) {
	c := newCloud(t)
	s := newSpanner(t, c.issuer)
	s.answers["count"] = result(spannerpb.TypeCode_INT64, structpb.NewStringValue("7"))
	source := c.opener(t)(subject{Trigger: spanner, metadata: with(ordersAt, map[string]string{"query": "count"})})
	answer := func(before func(context.Context, *spannerpb.ExecuteSqlRequest) error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.before = before
	}
	read := func(when string, limit time.Duration, want codes.Code) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		if _, err := source.Read(ctx); status.Code(err) != want {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
	}
	read("at first", 30*time.Second, codes.OK)
	answer(func(ctx context.Context, _ *spannerpb.ExecuteSqlRequest) error { <-ctx.Done(); return ctx.Err() })
	read("stalled", 300*time.Millisecond, codes.DeadlineExceeded)
	answer(func(context.Context, *spannerpb.ExecuteSqlRequest) error {
		return status.Error(codes.Unavailable, "no")
	})
	read("unavailable", 30*time.Second, codes.Unavailable)
	answer(func(context.Context, *spannerpb.ExecuteSqlRequest) error {
		return status.Error(codes.NotFound, "Table not found: orders")
	})
	read("without its table", 30*time.Second, codes.NotFound)
	answer(nil)
	read("again", 30*time.Second, codes.OK)
	c.issuer.Revoke()
	read("with a token that was revoked", 30*time.Second, codes.Unauthenticated)
	read("with another one", 30*time.Second, codes.OK)
	answer(func(context.Context, *spannerpb.ExecuteSqlRequest) error { return gcloud.Exhausted(time.Minute) })
	read("throttled", 30*time.Second, codes.ResourceExhausted)
	answer(nil)
	read("while it rests", 30*time.Second, codes.ResourceExhausted)
	if s.made != 1 {
		t.Errorf("%d sessions", s.made)
	}
}
