package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// session is a connection to a client port that can do no more than listen. The
// client library keeps every message that arrives, of whatever length the server
// says, and reads TLS where nobody can look at it before; here a message is
// nothing but the id of its subscription, and the rest is thrown away as it
// comes.
//
// Source: https://docs.nats.io/reference/reference-protocols/nats-protocol
type session struct {
	net.Conn
	in  *bufio.Reader
	out bytes.Buffer
}

const (
	// longestLine bounds a line of the server, which is the longest when it names
	// all servers of a large cluster.
	longestLine = 64 << 10
	// mostLines is how many lines a server may send within a second, or longer.
	// There is one for each subscription four times a second at most.
	mostLines = 20_000
	// writing bounds how long the server may take to read what it is sent.
	writing = 10 * time.Second
)

var (
	errProtocol = scaler.Errorf(codes.FailedPrecondition, "does not speak the protocol of NATS clients")
	errNoTLS    = scaler.Errorf(codes.FailedPrecondition, "does not offer TLS, which the trigger demands")
	errFlood    = scaler.Errorf(codes.Unavailable, "sends more than anybody asked for")
	errFull     = scaler.Errorf(codes.PermissionDenied, "allows no more subscriptions")
	errLogin    = scaler.Errorf(codes.Unauthenticated, "login refused")
)

// greeting is what matters of a server's first line.
type greeting struct {
	TLSRequired  bool   `json:"tls_required"`
	TLSAvailable bool   `json:"tls_available"`
	Nonce        string `json:"nonce"`
}

// connect opens a session and logs in.
func (d *doorbell) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	raw, err := d.dialer.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	s := newSession(raw)
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	err = s.open(ctx, d)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func newSession(conn net.Conn) *session {
	return &session{Conn: conn, in: bufio.NewReaderSize(conn, longestLine)}
}

// open does what comes before the first subscription.
func (s *session) open(ctx context.Context, d *doorbell) error {
	g, err := s.greeted()
	if err != nil {
		return err
	}
	if d.secure && !g.TLSRequired && !g.TLSAvailable {
		return errNoTLS
	}
	if d.secure || g.TLSRequired {
		if err := s.encrypt(ctx, d); err != nil {
			return err
		}
	}
	line, err := d.login.connect(g.Nonce, d.secure || g.TLSRequired)
	if err != nil {
		return err
	}
	s.write(line + "PING\r\n")
	if err := s.flush(); err != nil {
		return err
	}
	for {
		switch e, err := s.next(); {
		case err != nil:
			return err
		case e.kind == pong:
			return nil
		case e.kind == refusal:
			return failureOf(e.text)
		}
	}
}

func (s *session) greeted() (greeting, error) {
	var g greeting
	line, err := s.line()
	if err != nil {
		return g, err
	}
	text, found := bytes.CutPrefix(line, []byte("INFO "))
	if !found || json.Unmarshal(text, &g) != nil {
		return g, errProtocol
	}
	return g, nil
}

// encrypt goes on over TLS, as clients do after the first line.
func (s *session) encrypt(ctx context.Context, d *doorbell) error {
	config := d.tls.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(d.address)
	}
	conn := tls.Client(buffered{s.Conn, s.in}, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	s.Conn, s.in = conn, bufio.NewReaderSize(conn, longestLine)
	return nil
}

// buffered is a connection of which something was read ahead.
type buffered struct {
	net.Conn
	from io.Reader
}

// Read implements net.Conn.
func (b buffered) Read(p []byte) (int, error) { return b.from.Read(p) }

// write has a text sent with the next flush.
func (s *session) write(text string) { s.out.WriteString(text) }

func (s *session) flush() error {
	defer s.out.Reset()
	if s.out.Len() == 0 {
		return nil
	}
	if err := s.SetWriteDeadline(time.Now().Add(writing)); err != nil {
		return err
	}
	_, err := s.Write(s.out.Bytes())
	return err
}

// kind is what a server says.
type kind int

const (
	nothing kind = iota // that matters here
	message
	ping
	pong
	refusal
)

// event is something that a server says.
type event struct {
	kind kind
	text string // of a refusal; the id of the subscription of a message
}

// receive hands over what the server says until it ends or ctx does.
func (s *session) receive(ctx context.Context, events chan<- event) error {
	lines, since := 0, time.Now()
	for {
		e, err := s.next()
		if err != nil {
			return err
		}
		if lines++; lines > mostLines {
			if time.Since(since) < time.Second {
				return errFlood
			}
			lines, since = 0, time.Now()
		}
		if e.kind == nothing {
			continue
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// line is the next line of the server without its end. It is good until the
// next one is read.
func (s *session) line() ([]byte, error) {
	line, err := s.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errProtocol
	}
	return bytes.TrimRight(line, "\r\n"), err
}

// next reads what the server says next.
func (s *session) next() (event, error) {
	line, err := s.line()
	if err != nil {
		return event{}, err
	}
	word, rest, _ := strings.Cut(string(line), " ")
	switch strings.ToUpper(word) {
	case "MSG", "HMSG":
		return s.message(strings.Fields(rest))
	case "PING":
		return event{kind: ping}, nil
	case "PONG":
		return event{kind: pong}, nil
	case "+OK", "INFO":
		return event{}, nil
	case "-ERR":
		return event{kind: refusal, text: strings.Trim(rest, "' ")}, nil
	default:
		return event{}, errProtocol
	}
}

// message reads over a message: a subject, the id, perhaps where to answer, for
// one with headers their length, and the length of all that follows.
func (s *session) message(fields []string) (event, error) {
	if len(fields) < 3 || len(fields) > 5 {
		return event{}, errProtocol
	}
	length, err := strconv.ParseInt(fields[len(fields)-1], 10, 32)
	if err != nil || length < 0 {
		return event{}, errProtocol
	}
	if _, err := s.in.Discard(int(length)); err != nil {
		return event{}, err
	}
	if end, err := s.line(); err != nil || len(end) > 0 {
		return event{}, errors.Join(err, errProtocol)
	}
	return event{kind: message, text: fields[1]}, nil
}

// failureOf says what the error of a server means. Its text is not repeated.
func failureOf(text string) error {
	text = strings.ToLower(text)
	switch {
	case strings.Contains(text, "authorization"), strings.Contains(text, "authentication"), strings.Contains(text, "credentials"):
		return errLogin
	case strings.Contains(text, "secure connection"):
		return scaler.Errorf(codes.FailedPrecondition, "demands TLS: set tls to enable")
	case strings.Contains(text, "maximum subscriptions"):
		return errFull
	case strings.Contains(text, "maximum"):
		return scaler.Errorf(codes.Unavailable, "has no room for another client")
	default:
		return scaler.Errorf(codes.Unavailable, "ended the connection with an error")
	}
}

func refusedError(subject string) error {
	return fmt.Errorf("%w: the user lacks the permission to subscribe to %s", scaler.ErrDoorbellRefused, subject)
}

// login is who listens.
type login struct {
	user, password, token string

	jwt string
	key nkeys.KeyPair // proves that the JWT is the user's; nil without one
}

// login reads the credentials. Errors hold nothing of them.
func (p clientParams) login() (login, error) {
	l := login{user: p.Username, password: p.Password, token: p.Token}
	if p.Credentials == "" {
		return l, nil
	}
	var err error
	if l.jwt, err = nkeys.ParseDecoratedJWT([]byte(p.Credentials)); err == nil {
		l.key, err = nkeys.ParseDecoratedUserNKey([]byte(p.Credentials))
	}
	if err != nil {
		return login{}, errors.New("credentials: is not the text of a .creds file, with a JWT and the seed of a user's key")
	}
	return l, nil
}

// options are those of the line CONNECT.
type options struct {
	Verbose   bool   `json:"verbose"`
	Pedantic  bool   `json:"pedantic"`
	TLS       bool   `json:"tls_required"`
	Name      string `json:"name"`
	Language  string `json:"lang"`
	Version   string `json:"version"`
	Protocol  int    `json:"protocol"`
	Echo      bool   `json:"echo"`
	Headers   bool   `json:"headers"`
	User      string `json:"user,omitempty"`
	Password  string `json:"pass,omitempty"`
	Token     string `json:"auth_token,omitempty"`
	JWT       string `json:"jwt,omitempty"`
	Signature string `json:"sig,omitempty"`
}

// connect is the line that logs in.
func (l login) connect(nonce string, encrypted bool) (string, error) {
	o := options{TLS: encrypted, Name: "sluice", Language: "go", Version: "1", Protocol: 1, User: l.user, Password: l.password, Token: l.token, JWT: l.jwt}
	if l.key != nil {
		signature, err := l.key.Sign([]byte(nonce))
		if err != nil {
			return "", errLogin
		}
		o.Signature = base64.RawURLEncoding.EncodeToString(signature)
	}
	text, err := json.Marshal(o)
	return "CONNECT " + string(text) + "\r\n", err
}
