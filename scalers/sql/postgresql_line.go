package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"

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
func overTheirLines(config *pgx.ConnConfig, dial dialFunc, hashing *client.Hashing) {
	config.MaxProtocolMessageBodyLen = mostMessage
	for _, encrypted := range encryptions(config) {
		client.BoundServers(encrypted)
	}
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l := opens(ctx, newLine(raw, address, nil))
		l.hashing = func() (func(), error) { return hashing.Begin(ctx) }
		return l, nil
	}
	config.BuildFrontend = frontend(mostMessage)
}

// frontend looks at messages, none of which is longer than that, before the
// driver does.
func frontend(longest uint32) pgconn.BuildFrontendFunc {
	return func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		through := w
		if encrypted, ok := w.(*tls.Conn); ok {
			through = encrypted.NetConn()
		}
		return pgproto3.NewFrontend(&checked{ //nolint:forcetypeassert // as dialled
			Reader: r, line: through.(*line), messages: messages{longest: longest},
		}, w)
	}
}

// encryptions are the ways in which sessions of config may be encrypted.
func encryptions(config *pgx.ConnConfig) (all []*tls.Config) {
	if config.TLSConfig != nil {
		all = append(all, config.TLSConfig)
	}
	for _, other := range config.Fallbacks {
		if other.TLSConfig != nil {
			all = append(all, other.TLSConfig)
		}
	}
	return all
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
	if c.messages.hashes {
		c.messages.hashes = false
		end, late := c.line.hashing()
		if late != nil {
			return 0, c.line.end(late)
		}
		c.line.turn.Store(&end)
	}
	return n, c.line.because(err)
}

// unheardOf drops notifications. Who does not listen is told all the same, by a
// server that lies, and the driver would keep them.
func unheardOf(*pgconn.PgConn, *pgconn.Notification) {}

// A server reports some twenty settings to a session, of which the last value of
// each is kept.
const (
	mostSettings    = 100
	longestSettings = 16 << 10 // all that are kept, in bytes
)

var errReports = errors.New("the server reports more of its settings than there are")

// longestColumns is what a server may say of the columns of a result, in bytes: the
// driver keeps it with each statement that it has prepared.
const longestColumns = 64 << 10

// longestLoginMessage is what a server may say at once about a login, in bytes.
const longestLoginMessage = 8 << 10

var (
	errLongLogin  = errors.New("the server says more about a login than there is to say")
	errAhead      = errors.New("the server goes on with a login before the answer to its challenge, or has another one")
	errIterations = scaler.Errorf(codes.FailedPrecondition, "login: the server asked for more than %d iterations of the password's hash (scram_iterations)", client.MostIterations)
)

// messages checks those of PostgreSQL, as far as the driver does not.
type messages struct {
	longest  uint32         // that one may be, in bytes
	head     []byte         // of the message that comes
	body     uint32         // bytes of it that are to come
	kept     []byte         // what came of it, as far as it is looked at
	settings map[string]int // the length of each that was reported
	hashes   bool           // whether the driver hashes a password for what came last
	asked    bool           // whether a hash was asked for, or is no longer
}

// Check refuses what comes next, in pieces of any size.
func (m *messages) Check(p []byte) error {
	for len(p) > 0 {
		if m.body > 0 {
			n := min(uint32(len(p)), m.body)
			m.kept = append(m.kept, p[:min(int(n), m.looked()-len(m.kept))]...)
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

// Kinds of messages that are looked at.
const (
	authentication = 'R'
	setting        = 'S'
	columns        = 'T'
	row            = 'D'
)

// Steps of a login: it is over, and SCRAM has a password hashed, which it has once.
//
// Source: https://www.postgresql.org/docs/current/protocol-message-formats.html,
// AuthenticationOk, AuthenticationSASLContinue
const (
	welcome    = 0
	challenges = 11
)

// looked is how much is looked at of a message.
func (m *messages) looked() int {
	switch m.head[0] {
	case authentication:
		return longestLoginMessage
	case setting:
		return longestSettings
	case columns, row:
		return 2
	}
	return 0
}

// message looks at the head of one.
func (m *messages) message(kind byte, length uint32) error {
	switch {
	case length < 4 || length-4 > m.longest && kind != row:
		return errLongMessage
	case length-4 > m.longest:
		return errNoNumber
	}
	m.body = length - 4
	switch {
	case kind == authentication && m.body > longestLoginMessage:
		return errLongLogin
	case kind == columns && m.body > longestColumns:
		return errLongMessage
	case kind == setting && m.body > longestSettings:
		return errReports
	}
	return nil
}

// whole looks at a message that has come.
func (m *messages) whole() (err error) {
	switch kind := m.head[0]; {
	case kind == authentication && client.TooManyIterations(m.kept):
		err = errIterations
	case kind == authentication && m.hashes:
		err = errAhead
	case kind == authentication && len(m.kept) >= 4:
		err = m.login(binary.BigEndian.Uint32(m.kept))
	case kind == setting:
		err = m.reports()
	case (kind == columns || kind == row) && len(m.kept) == 2:
		err = checkColumns(int(binary.BigEndian.Uint16(m.kept)))
	}
	m.head, m.kept = m.head[:0], m.kept[:0]
	return err
}

// login looks at one step of a login.
func (m *messages) login(step uint32) error {
	switch step {
	case welcome:
		m.asked = true
	case challenges:
		if m.asked {
			return errAhead
		}
		m.hashes, m.asked = true, true
	}
	return nil
}

// reports counts a setting with what the session keeps.
func (m *messages) reports() error {
	name, _, _ := strings.Cut(string(m.kept), "\x00")
	if m.settings == nil {
		m.settings = map[string]int{}
	}
	m.settings[name] = len(m.kept)
	all := 0
	for _, length := range m.settings {
		all += length
	}
	if all > longestSettings || len(m.settings) > mostSettings {
		return errReports
	}
	return nil
}
