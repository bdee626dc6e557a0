package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// overTheirLines has all sessions of config go through lines. The driver looks
// at its connection for TLS, so that the line is below it and counts, and checks
// what TLS has let through. Below it is also what the driver reads ahead, which
// it does without end while it cannot write.
func overTheirLines(config *pgx.ConnConfig, dial dialFunc) {
	config.MaxProtocolMessageBodyLen = mostAnswer
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return opens(ctx, newLine(raw, address, nil)), nil
	}
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		if encrypted, ok := w.(*tls.Conn); ok {
			return pgproto3.NewFrontend(&checked{Reader: r, line: encrypted.NetConn().(*line)}, w) //nolint:forcetypeassert // as dialled
		}
		return pgproto3.NewFrontend(&checked{Reader: r, line: w.(*line)}, w) //nolint:forcetypeassert // as dialled
	}
}

// checked is what the driver reads of a session, once it was looked at.
type checked struct {
	io.Reader

	line     *line
	messages messages
}

// Read implements io.Reader.
func (c *checked) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if refused := c.messages.Check(p[:n]); refused != nil {
		return 0, c.line.end(refused)
	}
	return n, c.line.because(err)
}

// unheardOf drops notifications. Who does not listen is told all the same, by a
// server that lies, and the driver would keep them.
func unheardOf(*pgconn.PgConn, *pgconn.Notification) {}

// mostReported is how much of its settings a server may report to a session, in
// bytes: all of them are kept. There are some twenty.
const mostReported = 64 << 10

var errReports = errors.New("the server reports more of its settings than there are")

// longestLoginMessage is what a server may say at once about a login, in bytes.
const longestLoginMessage = 8 << 10

var (
	errLongLogin  = errors.New("the server says more about a login than there is to say")
	errIterations = scaler.Errorf(codes.FailedPrecondition, "login: the server asked for more than %d iterations of the password's hash (scram_iterations)", client.MostIterations)
)

// messages checks those of PostgreSQL, as far as the driver does not.
type messages struct {
	head     []byte // of the message that comes
	body     uint32 // bytes of it that are to come
	login    []byte // what came of one about a login
	reported int
}

// Check refuses what comes next, in pieces of any size.
func (m *messages) Check(p []byte) error {
	for len(p) > 0 {
		if m.body > 0 {
			n := min(uint32(len(p)), m.body)
			if m.head[0] == authentication {
				m.login = append(m.login, p[:n]...)
			}
			p, m.body = p[n:], m.body-n
			if m.body > 0 {
				return nil
			}
			if err := m.whole(); err != nil {
				return err
			}
			continue
		}
		n := min(len(p), 5-len(m.head))
		m.head, p = append(m.head, p[:n]...), p[n:]
		if len(m.head) < 5 {
			return nil
		}
		if err := m.message(m.head[0], binary.BigEndian.Uint32(m.head[1:])); err != nil {
			return err
		}
		if m.body == 0 {
			m.head = m.head[:0]
		}
	}
	return nil
}

// authentication is the kind of the messages of a login.
const authentication = 'R'

// whole looks at a message that has come.
func (m *messages) whole() error {
	tooMany := client.TooManyIterations(m.login)
	m.head, m.login = m.head[:0], m.login[:0]
	if tooMany {
		return errIterations
	}
	return nil
}

func (m *messages) message(kind byte, length uint32) error {
	if length < 4 || length-4 > mostAnswer {
		return errTooLong
	}
	m.body = length - 4
	if kind == authentication && m.body > longestLoginMessage {
		return errLongLogin
	}
	if kind == 'S' {
		if m.reported += int(length); m.reported > mostReported {
			return errReports
		}
	}
	return nil
}
