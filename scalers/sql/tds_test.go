package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// standIn speaks as much TDS as a login and a query take. It stands in for SQL
// Server, which cannot be installed where these tests run.
//
// Source: https://learn.microsoft.com/openspecs/windows_protocols/ms-tds
type standIn struct {
	listener net.Listener
	running  sync.WaitGroup
	open     sync.Map // its connections

	mu       sync.Mutex
	password string
}

// newStandIn lets in whoever knows the password.
func newStandIn(t testing.TB, password string) *standIn {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &standIn{listener: l, password: password}
	s.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.open.Store(c, nil)
			s.running.Go(func() {
				defer c.Close()
				if err := s.serve(c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Logf("stand-in: %v", err)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.hangUp()
		s.running.Wait()
	})
	return s
}

func (s *standIn) hangUp() {
	s.open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
}

// change lets in whoever knows another password, and ends all sessions.
func (s *standIn) change(password string) {
	s.mu.Lock()
	s.password = password
	s.mu.Unlock()
	s.hangUp()
}

// The kinds of packets and tokens that are needed here.
const (
	packetQuery, packetAnswer, packetAttention, packetLogin, packetPrelogin = 0x01, 0x04, 0x06, 0x10, 0x12

	tokenColumns, tokenError, tokenLogin, tokenRow, tokenDone = 0x81, 0xaa, 0xad, 0xd1, 0xfd
)

func (s *standIn) serve(c net.Conn) error {
	for {
		kind, body, err := readPacket(c)
		if err != nil {
			return err
		}
		var answer []byte
		switch kind {
		case packetPrelogin:
			// One option: encryption is not supported.
			answer = []byte{1, 0, 6, 0, 1, 0xff, 2}
		case packetLogin:
			answer = s.login(body)
		case packetQuery:
			answer = s.query(body)
		case packetAttention: // a query is given up, and that is confirmed
			answer = done()
			answer[1] = 0x20
		default:
			return errors.New("a packet that it does not know")
		}
		if answer == nil {
			continue // what is asked next is that it be given up
		}
		if err := writePacket(c, answer); err != nil {
			return err
		}
	}
}

// readPacket reads a message, which may have several packets.
func readPacket(c net.Conn) (kind byte, body []byte, err error) {
	for {
		header := make([]byte, 8)
		if _, err := io.ReadFull(c, header); err != nil {
			return 0, nil, err
		}
		part := make([]byte, binary.BigEndian.Uint16(header[2:])-8)
		if _, err := io.ReadFull(c, part); err != nil {
			return 0, nil, err
		}
		body = append(body, part...)
		if header[1]&1 != 0 { // the last one
			return header[0], body, nil
		}
	}
}

func writePacket(c net.Conn, body []byte) error {
	header := []byte{packetAnswer, 1, 0, 0, 0, 0, 1, 0}
	binary.BigEndian.PutUint16(header[2:], uint16(len(body)+8))
	_, err := c.Write(append(header, body...))
	return err
}

// login compares the password, which clients send with its bits mixed, or the
// token that stands in its place.
func (s *standIn) login(body []byte) []byte {
	if token, has := federated(body); has {
		return s.loginAs(token)
	}
	at, length := binary.LittleEndian.Uint16(body[44:]), binary.LittleEndian.Uint16(body[46:])
	password := append([]byte(nil), body[at:int(at)+2*int(length)]...)
	for i, b := range password {
		b ^= 0xa5
		password[i] = b<<4 | b>>4
	}
	return s.loginAs(text(password))
}

// federated is the token of a login by one: the feature 2 in the extension of
// the login, of which 5 bytes are in front of the token.
func federated(body []byte) (token string, has bool) {
	const extension, flags, feature = 56, 27, 2
	if body[flags]&0x10 == 0 {
		return "", false
	}
	at := binary.LittleEndian.Uint32(body[binary.LittleEndian.Uint16(body[extension:]):])
	for body[at] != 0xff {
		length := binary.LittleEndian.Uint32(body[at+1:])
		data := body[at+5 : at+5+length]
		if body[at] == feature {
			return text(data[5:]), true
		}
		at += 5 + length
	}
	return "", false
}

func (s *standIn) loginAs(secret string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret != s.password {
		return append(failed(18456), done()...)
	}
	program := wide("stand-in")
	token := []byte{1, 0x74, 0, 0, 4, byte(len(program) / 2)}
	token = append(append(token, program...), 16, 0, 0, 0)
	return append(sized(tokenLogin, token), done()...)
}

// query answers what the tests ask.
func (s *standIn) query(body []byte) []byte {
	statement, _, _ := strings.Cut(text(body[binary.LittleEndian.Uint32(body):]), " -- ")
	if number, found := strings.CutPrefix(statement, "FAIL "); found {
		n, _ := strconv.ParseUint(number, 10, 32)
		return append(failed(uint32(n)), done()...)
	}
	switch statement {
	case "SELECT 42":
		return append(append(column(), tokenRow, 4, 42, 0, 0, 0), done()...)
	case "SELECT NULL":
		return append(append(column(), tokenRow, 0), done()...)
	case "HANG":
		return nil
	case "SELECT NOTHING":
		return append(column(), done()...)
	default:
		return append(failed(208), done()...)
	}
}

// column is the description of one nullable integer without a name.
func column() []byte { return []byte{tokenColumns, 1, 0, 0, 0, 0, 0, 1, 0, 0x26, 4, 0} }

func done() []byte { return append([]byte{tokenDone}, make([]byte, 12)...) }

func failed(number uint32) []byte {
	token := binary.LittleEndian.AppendUint32(nil, number)
	token = append(token, 1, 14, 1, 0)
	token = append(token, wide("x")...)
	token = append(token, 0, 0, 0, 0, 0, 0) // no server, no procedure, no line
	return sized(tokenError, token)
}

func sized(kind byte, token []byte) []byte {
	return append(binary.LittleEndian.AppendUint16([]byte{kind}, uint16(len(token))), token...)
}

func wide(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func text(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

func TestMSSQL(t *testing.T) {
	const password = "p/@: ä secret"
	s := newStandIn(t, password)
	host, port := split(t, s.listener.Addr().String())
	what := "mssql: mssql " + s.listener.Addr().String() + ": "
	tests := map[string]struct {
		query   string
		auth    map[string]string
		want    scalertest.Observation
		code    codes.Code
		message string
	}{
		"an integer":    {query: "SELECT 42", want: scalertest.Observation{Value: 42, Active: true}},
		"no rows are 0": {query: "SELECT NOTHING"},
		"NULL": {query: "SELECT NULL", code: codes.NotFound,
			message: "mssql: query: returned NULL, which COALESCE can turn into a number: no data"},
		"a table that is not there": {query: "SELECT x", code: codes.NotFound, message: what + "query: a table does not exist (error 208)"},
		"a wrong password": {query: "SELECT 42", auth: map[string]string{"password": "wrong-password"}, code: codes.Unauthenticated,
			message: what + "login refused (error 18456)"},
		"a connection string": {query: "SELECT 42", auth: map[string]string{
			"connectionString": "Server=" + host + ";Port=" + port + ";User Id=sa;Password=" + password + ";Encrypt=disable"},
			want: scalertest.Observation{Value: 42, Active: true}},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := map[string]string{"query": tt.query, "targetValue": "1", "host": host, "port": port, "username": "sa", "database": "work"}
			auth := tt.auth
			if auth == nil {
				auth = map[string]string{"password": password}
			}
			got, err := family.WithAuth(auth).Observe(t.Context(), "mssql", metadata)
			if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}
