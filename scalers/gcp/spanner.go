package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/spanner/apiv1/spannerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// spanner scales on the number that a query of Cloud Spanner returns first. No row
// at all is 0.
var spanner = scaler.Define("gcp-spanner", openSpanner, scaler.OnNoData(scaler.NoDataZero))

// spannerParams is the metadata of a gcp-spanner trigger.
type spannerParams struct {
	identityParams

	// ProjectID is the project of the instance.
	ProjectID string `param:"projectId,required"`
	// InstanceID is the instance of the database.
	InstanceID string `param:"instanceId,required"`
	// DatabaseID is the database.
	DatabaseID string `param:"databaseId,required"`
	// Query is the SQL to run, in a transaction that only reads. The first column
	// of the first row is the value: INT64, FLOAT64 or NUMERIC.
	Query string `param:"query,required" long:"true"`
	// MaxStaleness is how old the data may be that the query sees, such as 15s,
	// which any replica has at hand; without it, the newest counts, which the
	// leader is asked for.
	MaxStaleness time.Duration `param:"maxStaleness"`
	// TargetValue is the target, greater than 0.
	TargetValue float64 `param:"targetValue" default:"5" role:"target"`
	// ActivationValue is the activation threshold.
	ActivationValue float64 `param:"activationValue" default:"0" role:"activation"`
}

// spannerEmulator is the variable that names an emulator, as Google's clients read
// it: a host and port, asked in plain text and by nobody.
const spannerEmulator = "SPANNER_EMULATOR_HOST"

// Validate checks the target, and that somebody asks.
func (p spannerParams) Validate() error {
	var problems []error
	if os.Getenv(spannerEmulator) == "" {
		problems = append(problems, p.checkIdentity())
	}
	for _, id := range []struct{ parameter, text string }{{"projectId", p.ProjectID}, {"instanceId", p.InstanceID}, {"databaseId", p.DatabaseID}} {
		problems = append(problems, checkID(id.parameter, id.text))
	}
	if p.TargetValue <= 0 {
		problems = append(problems, fmt.Errorf("targetValue: %v is not greater than 0", p.TargetValue))
	}
	return errors.Join(problems...)
}

// Name has the project last.
func (p spannerParams) Name() string {
	return scaler.MetricName("gcp-spanner", p.InstanceID, p.DatabaseID, p.ProjectID)
}

// database is one database for one account, shared by all sources that ask it: the
// generated stubs over our own connection, and one session. The library around them
// holds several connections and goroutines for each client.
type database struct {
	*connection

	spanner spannerpb.SpannerClient
	quota   *client.Account
	name    string
	turn    chan struct{} // whoever has it may look at session, and make one
	session string
}

// Cost says what it takes, before there is one.
func (*database) Cost() int { return connectionCost }

// database returns the one of the trigger. It is called with the ctx of Open and
// asks nothing yet.
func (p spannerParams) database(ctx context.Context) (*database, error) {
	at, emulator := spannerAt, os.Getenv(spannerEmulator)
	if emulator != "" {
		host, port, err := net.SplitHostPort(emulator)
		if err != nil {
			return nil, scaler.Errorf(codes.InvalidArgument, "%s: %q is not a host and a port", spannerEmulator, emulator)
		}
		at = endpoint{host: host, port: port, plain: true, flag: spannerEmulator}
	}
	name := fmt.Sprintf("projects/%s/instances/%s/databases/%s", p.ProjectID, p.InstanceID, p.DatabaseID)
	who, err := p.who()
	if err != nil {
		return nil, err
	}
	return client.Shared(ctx, []any{at, name, who}, func(ctx context.Context) (*database, error) {
		var account *google.Account
		if emulator == "" {
			var err error
			if account, err = p.account(ctx, lending.GoogleSpanner, at); err != nil {
				return nil, err
			}
		}
		quota, err := p.quota(ctx, lending.GoogleSpanner.String(), name)
		if err != nil {
			return nil, err
		}
		c, err := connect(ctx, at, account, lending.GoogleSpanner, emulator == "" && p.own())
		if err != nil {
			return nil, err
		}
		//dials:through c
		return &database{connection: c, spanner: spannerpb.NewSpannerClient(c), quota: quota, name: name, turn: make(chan struct{}, 1)}, nil
	})
}

// spannerSource runs one query.
type spannerSource struct {
	*database

	query string
	reads *spannerpb.TransactionOptions_ReadOnly // how
}

// reads is how the query is run: on what is newest, or on what is new enough.
func (p spannerParams) reads() *spannerpb.TransactionOptions_ReadOnly {
	if p.MaxStaleness > 0 {
		return &spannerpb.TransactionOptions_ReadOnly{TimestampBound: &spannerpb.TransactionOptions_ReadOnly_MaxStaleness{MaxStaleness: durationpb.New(p.MaxStaleness)}}
	}
	return &spannerpb.TransactionOptions_ReadOnly{TimestampBound: &spannerpb.TransactionOptions_ReadOnly_Strong{Strong: true}}
}

func openSpanner(ctx context.Context, p spannerParams) (scaler.Source, error) {
	d, err := p.database(ctx)
	if err != nil {
		return nil, err
	}
	return &spannerSource{d, p.Query, p.reads()}, nil
}

// Read returns the first column of the first row.
func (s *spannerSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	value, err := s.inSession(ctx, func(session string) (float64, error) { return s.ask(ctx, session) })
	switch {
	case errors.Is(err, errNoRow):
		return nil, fmt.Errorf("%s: %w: %w", s.what(), err, scaler.ErrNoData)
	case err != nil:
		return nil, scaler.Errorf(status.Code(err), "%s: %w", s.what(), err)
	}
	return scaler.One(value), nil
}

func (d *database) what() string { return "database " + d.name }

// headers are those by which Google routes calls, and counts them for a database.
func (d *database) headers(parameter, value string) []string {
	return []string{routing, parameter + "=" + url.QueryEscape(value), "google-cloud-resource-prefix", d.name}
}

// inSession calls f with the session, and once more with another one where Google
// has forgotten it.
func (d *database) inSession(ctx context.Context, f func(session string) (float64, error)) (float64, error) {
	forgotten := ""
	for {
		session, err := d.sessionBeside(ctx, forgotten)
		if err != nil {
			return 0, err
		}
		value, err := f(session)
		if status.Code(err) != codes.NotFound || forgotten != "" || !sessionIsGone(err) {
			return value, err
		}
		forgotten = session
	}
}

// sessionIsGone tells a session that is not found from a table or database.
func sessionIsGone(err error) bool {
	return strings.Contains(status.Convert(err).Message(), "Session not found")
}

// sessionBeside returns the session, which is made where there is none but the one
// that is forgotten. Many share it, and it lasts for weeks.
func (d *database) sessionBeside(ctx context.Context, forgotten string) (string, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return "", scaler.Errorf(codes.DeadlineExceeded, "%s: no session in time", d.connection.name)
	}
	if d.session != "" && d.session != forgotten {
		return d.session, nil
	}
	var made *spannerpb.Session
	err := d.call(ctx, d.quota, func(ctx context.Context) (err error) {
		made, err = d.spanner.CreateSession(ctx, &spannerpb.CreateSessionRequest{Database: d.name, Session: &spannerpb.Session{Multiplexed: true}})
		return err
	}, d.headers("database", d.name)...)
	if err != nil {
		return "", err
	}
	d.session = made.GetName()
	return d.session, nil
}

// ask runs the query up to its first value. What follows is not waited for.
func (s *spannerSource) ask(ctx context.Context, session string) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var row firstValue
	err := s.call(ctx, s.quota, func(ctx context.Context) error {
		stream, err := s.spanner.ExecuteStreamingSql(ctx, &spannerpb.ExecuteSqlRequest{
			Session: session, Sql: s.query,
			Transaction: &spannerpb.TransactionSelector{Selector: &spannerpb.TransactionSelector_SingleUse{SingleUse: &spannerpb.TransactionOptions{
				Mode: &spannerpb.TransactionOptions_ReadOnly_{ReadOnly: s.reads},
			}}},
		})
		if err != nil {
			return err
		}
		for !row.whole {
			part, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			row.add(part)
		}
		return nil
	}, s.headers("session", session)...)
	if err != nil {
		return 0, err
	}
	return row.number()
}

// errNoRow says that the query returned nothing.
var errNoRow = errors.New("the query returned no row")

// firstValue is the first value of a result, which comes in parts.
type firstValue struct {
	column *spannerpb.StructType_Field // nil until it is known
	value  *structpb.Value             // nil until there is one
	whole  bool
}

// longestNumber is that of a number as text; what is longer is none.
const longestNumber = 1 << 10

// add takes the next part of a result.
func (v *firstValue) add(part *spannerpb.PartialResultSet) {
	if columns := part.GetMetadata().GetRowType().GetFields(); v.column == nil && len(columns) > 0 {
		v.column = columns[0]
	}
	values := part.GetValues()
	if len(values) == 0 {
		return
	}
	if v.value == nil {
		v.value = values[0]
	} else { // a text goes on
		v.value = structpb.NewStringValue(v.value.GetStringValue() + values[0].GetStringValue())
	}
	v.whole = len(values) > 1 || !part.GetChunkedValue() || len(v.value.GetStringValue()) > longestNumber
}

// wrong says that the value is none to scale on.
func (v *firstValue) wrong() error {
	return fmt.Errorf("the first column %s is neither INT64, FLOAT64 nor NUMERIC, or is NULL", strconv.Quote(v.column.GetName()))
}

// number is the value.
func (v *firstValue) number() (float64, error) {
	if v.value == nil {
		return 0, errNoRow
	}
	if _, null := v.value.GetKind().(*structpb.Value_NullValue); null || !v.whole {
		return 0, scaler.Errorf(codes.FailedPrecondition, "%w", v.wrong())
	}
	n, err := math.NaN(), error(nil)
	switch v.column.GetType().GetCode() {
	case spannerpb.TypeCode_INT64:
		var whole int64
		whole, err = strconv.ParseInt(v.value.GetStringValue(), 10, 64)
		n = float64(whole)
	case spannerpb.TypeCode_NUMERIC:
		n, err = strconv.ParseFloat(v.value.GetStringValue(), 64)
	case spannerpb.TypeCode_FLOAT64, spannerpb.TypeCode_FLOAT32:
		if _, isNumber := v.value.GetKind().(*structpb.Value_NumberValue); isNumber {
			n = v.value.GetNumberValue()
		}
	default:
		err = v.wrong()
	}
	if err != nil {
		return 0, scaler.Errorf(codes.FailedPrecondition, "%w", v.wrong())
	}
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, scaler.Errorf(codes.FailedPrecondition, "the first column %q is not a finite number", v.column.GetName())
	}
	return n, nil
}
