package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// Limits of the connections to one database as one identity, whatever the
// number of triggers.
const (
	mostConnections = 4
	// mostSlow of them may be held by queries that are slow, so that others are
	// answered however many of those there are.
	mostSlow = 2
	idleTime = 5 * time.Minute
	// lifetime is shorter than what servers and middleboxes usually allow.
	lifetime = 10 * time.Minute
)

// database is one database as one identity.
type database struct {
	*sql.DB

	what     string // for errors: kind, host and port
	explain  func(error) (codes.Code, string)
	doorbell *client.SharedDoorbell
	notify   func(ctx context.Context, listeners *client.Listeners) error // nil where nothing can ring
}

// share returns the one database for all that its connections are made of, the
// kind of server among it.
func share(ctx context.Context, params []any, open func(context.Context) (*database, error)) (*database, error) {
	return client.Shared(ctx, params, func(ctx context.Context) (*database, error) {
		d, err := open(ctx)
		if err != nil {
			return nil, err
		}
		d.SetMaxOpenConns(mostConnections)
		d.SetMaxIdleConns(mostConnections)
		d.SetConnMaxIdleTime(idleTime)
		d.SetConnMaxLifetime(lifetime)
		d.doorbell = client.NewSharedDoorbell(ctx)
		return d, nil
	})
}

// Width implements client.Narrow: each read has a connection to itself.
func (d *database) Width() (reads, slow int) { return mostConnections, mostSlow }

// Cost counts all of its connections: drivers have buffers of up to 64 KiB for
// each.
func (*database) Cost() int { return mostConnections * client.UsualCost }

// Close ends all connections.
func (d *database) Close() error {
	d.doorbell.Close()
	return d.DB.Close()
}

// failure puts err under the database, with the gRPC code that follows from
// it. What servers say is not repeated: they quote queries and values.
func (d *database) failure(err error) error {
	var known interface{ GRPCStatus() *status.Status }
	if errors.Is(err, scaler.ErrNoData) || errors.Is(err, scaler.ErrDoorbellRefused) || errors.As(err, &known) {
		return err
	}
	code, text := d.explain(err)
	return scaler.Errorf(code, "%s: %w", d.what, scaler.Because(code, text, err))
}

// source reads the result of one query.
type source struct {
	database *database
	query    string
	// none is the outcome of a query without rows.
	none func() ([]scaler.Reading, error)
}

// noRows is no data, as everywhere but in mssql.
func noRows() ([]scaler.Reading, error) {
	return nil, fmt.Errorf("query: returned no rows: %w", scaler.ErrNoData)
}

// Read runs the query. Its first row has one column, the value.
func (s *source) Read(ctx context.Context) ([]scaler.Reading, error) {
	rows, err := s.database.QueryContext(ctx, s.query)
	if err != nil {
		return nil, s.database.failure(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, s.database.failure(err)
	}
	if len(columns) != 1 {
		return nil, columnsError(len(columns))
	}
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return nil, s.database.failure(err)
		}
		return s.none()
	}
	var cell any
	if err := rows.Scan(&cell); err != nil {
		return nil, s.database.failure(err)
	}
	value, err := number(cell)
	if err != nil {
		return nil, err
	}
	return scaler.One(value), nil
}

// number is a cell as a number: NULL is no data, text has to be a number.
func number(cell any) (float64, error) {
	var text string
	switch v := cell.(type) {
	case nil:
		return 0, fmt.Errorf("query: returned NULL, which COALESCE can turn into a number: %w", scaler.ErrNoData)
	case int64:
		return float64(v), nil
	case uint64:
		return float64(v), nil
	case float32:
		return float64(v), nil
	case float64:
		return v, nil
	case []byte:
		text = string(v)
	case string:
		text = v
	default:
		return 0, scaler.Errorf(codes.FailedPrecondition, "query: returned a value of type %T, not a number", cell)
	}
	value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return 0, scaler.Errorf(codes.FailedPrecondition, "query: returned a text that is not a number")
	}
	return value, nil
}
