package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// connector opens the sessions of a database through lines.
type connector struct{ driver.Connector }

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	var conn driver.Conn
	line, err := logIn(ctx, func(ctx context.Context) (err error) {
		conn, err = c.Connector.Connect(ctx)
		return err
	})
	switch {
	case err != nil && conn != nil:
		_ = safely(conn.Close)
		return nil, err
	case err != nil:
		return nil, err
	case line == nil:
		return nil, errors.New("the client has not dialled as it has to")
	}
	return &session{Conn: conn, line: line}, nil
}

// session is a driver's connection that runs queries and nothing else.
type session struct {
	driver.Conn

	line   *line
	broken atomic.Bool
}

var (
	_ driver.QueryerContext  = (*session)(nil)
	_ driver.SessionResetter = (*session)(nil)
	_ driver.Validator       = (*session)(nil)
)

// do has the driver work, and says why it fails.
func (s *session) do(work func() error) error {
	err := safely(work)
	if errors.Is(err, errGaveUp) {
		s.broken.Store(true)
		return s.line.end(err)
	}
	if err == io.EOF { //nolint:errorlint // the end of the rows, and no other error
		return err
	}
	return s.line.because(err)
}

// QueryContext implements driver.QueryerContext.
func (s *session) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	var all rows
	s.line.ask()
	err := s.do(func() (err error) {
		all, err = s.query(ctx, query, args)
		return err
	})
	if err != nil {
		return nil, err
	}
	all.session = s
	return &all, nil
}

func (s *session) query(ctx context.Context, query string, args []driver.NamedValue) (rows, error) {
	if direct, ok := s.Conn.(driver.QueryerContext); ok {
		all, err := direct.QueryContext(ctx, query, args)
		return rows{Rows: all}, err
	}
	statement, err := s.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return rows{}, err
	}
	all, err := statement.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		statement.Close() // it is known to this side alone
		return rows{}, err
	}
	return rows{Rows: all, statement: statement}, nil
}

// ResetSession implements driver.SessionResetter.
func (s *session) ResetSession(ctx context.Context) error {
	resetter, ok := s.Conn.(driver.SessionResetter)
	if !ok {
		return nil
	}
	return s.do(func() error { return resetter.ResetSession(ctx) })
}

// IsValid implements driver.Validator.
func (s *session) IsValid() bool {
	if s.broken.Load() || s.line.refusal() != nil {
		return false
	}
	valid := true
	err := s.do(func() error {
		if validator, ok := s.Conn.(driver.Validator); ok {
			valid = validator.IsValid()
		}
		return nil
	})
	return valid && err == nil
}

// leaveTaking is how long the end of a session may take. A server that does not
// read would never let it come about.
const leaveTaking = time.Second

// Close implements driver.Conn.
func (s *session) Close() error {
	late := time.AfterFunc(leaveTaking, func() { s.line.Close() })
	defer late.Stop()
	err := s.do(s.Conn.Close)
	if s.broken.Load() {
		s.line.Close() // what the driver has not come to
	}
	return err
}

// rows are those of one query.
type rows struct {
	driver.Rows

	session   *session
	statement driver.Stmt // nil for none of its own
}

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	return r.session.do(func() error { return r.Rows.Next(dest) })
}

// Close implements driver.Rows. Rows that are left are passed over, up to the
// bound of an answer; behind it the session ends.
func (r *rows) Close() error {
	err := r.session.do(r.Rows.Close)
	if r.statement != nil {
		err = errors.Join(err, r.session.do(r.statement.Close))
	}
	return err
}
