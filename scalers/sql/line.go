package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	mssql "github.com/microsoft/go-mssqldb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// mostAnswer is what a server may send for a login, for a query or while it is
// listened to, in bytes. A number takes some hundred of them; the rest is for
// rows that nobody reads, the names of columns, and notices.
const mostAnswer = 512 << 10

// mostMessage is what of it a server may say in one message, in bytes. Drivers
// make room for it as soon as it is announced, and some keep the room.
const mostMessage = 64 << 10

// errLongMessage is about a message that is longer and no part of the data.
var errLongMessage = fmt.Errorf("the server says more than %d KiB at once", mostMessage>>10)

// errTooLong is about an answer that is longer. Mostly the query is to blame.
var errTooLong = scaler.Errorf(codes.FailedPrecondition, "query: the answer is longer than %d KiB; it has to be one number", mostAnswer>>10)

// dialFunc opens a connection that is not looked at yet.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// line is what a driver speaks through to a server. What comes over it is
// bounded and checked before the driver sees it: drivers make room for whatever
// a server announces.
type line struct {
	net.Conn

	from  io.Reader      // what Conn says, or what reads ahead of it
	peer  string         // host and port
	left  atomic.Int64   // bytes that may come for what was asked
	mu    sync.Mutex     // of check
	check client.Checker // nil for none
	ended atomic.Pointer[error]

	hashing func() (end func(), err error) // waits for the turn of a login that is hashed
	turn    atomic.Pointer[func()]         // ends it
}

func newLine(raw net.Conn, peer string, check client.Checker) *line {
	l := &line{Conn: raw, from: raw, peer: peer, check: check}
	l.ask()
	return l
}

// ask notes that the next answer is waited for.
func (l *line) ask() { l.left.Store(mostAnswer) }

// Read implements net.Conn.
func (l *line) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	if refused := l.look(p[:n]); refused != nil {
		return 0, refused
	}
	return n, l.because(err)
}

// Write implements net.Conn.
func (l *line) Write(p []byte) (int, error) {
	l.rest()
	return l.Conn.Write(p)
}

// Close implements net.Conn.
func (l *line) Close() error {
	l.rest()
	return l.Conn.Close()
}

// rest gives the turn of a login to others, which has nothing to hash any more when
// the driver says or ends something.
func (l *line) rest() {
	if end := l.turn.Swap(nil); end != nil {
		(*end)()
	}
}

// look bounds and checks what came. It ends the line where that is refused.
func (l *line) look(p []byte) error {
	if err := l.refusal(); err != nil {
		return err
	}
	if l.left.Add(-int64(len(p))) < 0 {
		return l.end(errTooLong)
	}
	if l.check == nil || len(p) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check.Check(p); err != nil {
		return l.end(err)
	}
	return nil
}

// end closes the line for a reason, which is that of each of its errors from
// then on.
func (l *line) end(reason error) error {
	var known interface{ GRPCStatus() *status.Status }
	if !errors.As(reason, &known) && !errors.As(reason, new(mssql.Error)) {
		reason = &client.PeerError{Peer: l.peer, Reason: reason}
	}
	l.ended.CompareAndSwap(nil, &reason)
	l.Close() // its error would say less
	return l.refusal()
}

// refusal is why the line ended, nil for one that did not.
func (l *line) refusal() error {
	if ended := l.ended.Load(); ended != nil {
		return *ended
	}
	return nil
}

// because replaces an error that there is only because the line ended.
func (l *line) because(err error) error {
	if refused := l.refusal(); refused != nil && err != nil {
		return refused
	}
	return err
}

// polled is a line of which drivers may ask whether the server has hung up,
// which nobody else must read meanwhile.
type polled struct {
	*line
	syscall.Conn
}

// asPolled is l as one of these, where what is below it can be asked.
func asPolled(l *line) net.Conn {
	if system, ok := l.Conn.(syscall.Conn); ok {
		return polled{l, system}
	}
	return l
}

// columnsError is the error about columns that are not one.
type columnsError int

func (n columnsError) Error() string {
	return fmt.Sprintf("query: returns %d columns, not one", int(n))
}

// GRPCStatus gives the error its code.
func (n columnsError) GRPCStatus() *status.Status {
	return status.New(codes.FailedPrecondition, n.Error())
}

// mostColumns is how many columns an answer may have that is to be one number.
// Drivers make room for each of them, and for its value in a row, by what is
// announced.
const mostColumns = 100

func checkColumns(n int) error {
	if n > mostColumns {
		return columnsError(n)
	}
	return nil
}

// login is the opening of one session. A driver may dial several times for it.
type login struct {
	line  atomic.Pointer[line]
	dials atomic.Int32
}

type loginKey struct{}

// opens leaves the line to the login that it is for, which ends it with its
// ctx: not all drivers do.
func opens(ctx context.Context, l *line) *line {
	if mine, ok := ctx.Value(loginKey{}).(*login); ok {
		mine.line.Store(l)
		if ctx.Err() != nil { // it ended before there was anything to close
			l.Close()
		}
	}
	return l
}

// logIn has a driver open a session. It returns when ctx ends, and with the
// line of the session.
func logIn(ctx context.Context, open func(context.Context) error) (*line, error) {
	l := &login{}
	stop := context.AfterFunc(ctx, func() {
		if line := l.line.Load(); line != nil {
			line.Close()
		}
	})
	err := safely(func() error { return open(context.WithValue(ctx, loginKey{}, l)) })
	line := l.line.Load()
	if err != nil && line != nil {
		line.Close() // a driver that panicked has not
		err = line.because(err)
	}
	if !stop() {
		return line, ctx.Err()
	}
	return line, err
}

// errGaveUp is about a driver that panicked.
var errGaveUp = errors.New("the client gave up on what the server sent")

// safely has a driver work on what a server sent. Not all of them check it
// first, and database/sql has some of it done where nobody could catch a panic.
func safely(work func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errGaveUp
		}
	}()
	return work()
}
