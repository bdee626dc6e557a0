package main

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// lie is what a server says that means ill. Each part is that of one phase.
type lie struct {
	greeting, login, answer []byte
	// endless repeats the answer until nobody listens any more.
	endless bool
	// routes has SQL Server send each login to itself once more.
	routes bool
}

// tell is the server's side of a connection.
func (l lie) tell(triggerType string, c net.Conn, certificate *tls.Config) error {
	return map[string]func(net.Conn, *tls.Config) error{"postgresql": l.postgresql, "mysql": l.mysql, "mssql": l.mssql}[triggerType](c, certificate)
}

func (l lie) say(c net.Conn) error {
	for {
		if _, err := c.Write(l.answer); err != nil || !l.endless || len(l.answer) == 0 {
			return err
		}
	}
}

// frame reads what a client says: a head with a length in it.
func frame(c net.Conn, head int, length func(head []byte) int) ([]byte, error) {
	b := make([]byte, head)
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, err
	}
	n := length(b)
	if n < 0 || n > 1<<20 {
		return nil, io.ErrUnexpectedEOF
	}
	b = append(b, make([]byte, n)...)
	_, err := io.ReadFull(c, b[head:])
	return b, err
}

func (l lie) postgresql(c net.Conn, certificate *tls.Config) error {
	const askForTLS = 8
	startup := func() ([]byte, error) {
		return frame(c, 4, func(h []byte) int { return int(binary.BigEndian.Uint32(h)) - 4 })
	}
	first, err := startup()
	if err != nil {
		return err
	}
	if len(first) == askForTLS {
		if certificate == nil {
			_, err = c.Write([]byte("N"))
		} else if _, err = c.Write([]byte("S")); err == nil {
			c = tls.Server(c, certificate)
		}
		if err != nil {
			return err
		}
		if _, err := startup(); err != nil {
			return err
		}
	}
	if _, err := c.Write(l.login); err != nil {
		return err
	}
	for {
		said, err := frame(c, 5, func(h []byte) int { return int(binary.BigEndian.Uint32(h[1:])) - 4 })
		if err != nil {
			return err
		}
		if said[0] == 'X' {
			return nil
		}
		if said[0] == 'S' || said[0] == 'Q' { // what was asked is whole
			if err := l.say(c); err != nil {
				return err
			}
		}
	}
}

func (l lie) mysql(c net.Conn, certificate *tls.Config) error {
	if _, err := c.Write(l.greeting); err != nil {
		return err
	}
	read := func() ([]byte, error) {
		return frame(c, 4, func(h []byte) int { return int(h[0]) | int(h[1])<<8 | int(h[2])<<16 })
	}
	first, err := read()
	if err != nil {
		return err
	}
	next := byte(2)
	if len(first) == 4+lengthOfSSLRequest {
		if certificate == nil {
			return io.ErrUnexpectedEOF
		}
		c = tls.Server(c, certificate)
		if _, err := read(); err != nil {
			return err
		}
		next++
	}
	login := append([]byte(nil), l.login...)
	if len(login) > 3 && login[3] == 2 {
		login[3] = next
	}
	if _, err := c.Write(login); err != nil {
		return err
	}
	for {
		said, err := read()
		if err != nil {
			return err
		}
		if strings.HasPrefix(string(said[min(5, len(said)):]), "SET ") {
			_, err = c.Write(mysqlPacket(1, 0, 0, 0, 2, 0, 0, 0))
		} else {
			err = l.say(c)
		}
		if err != nil {
			return err
		}
	}
}

func (l lie) mssql(c net.Conn, certificate *tls.Config) error {
	for {
		kind, _, err := readPacket(c)
		if err != nil {
			return err
		}
		switch kind {
		case packetPrelogin:
			if _, err := c.Write(l.greeting); err != nil {
				return err
			}
			if certificate == nil {
				break
			}
			wrapped := &handshake{Conn: c}
			below := &switched{wrapped}
			encrypted := tls.Server(below, certificate)
			if err := encrypted.HandshakeContext(context.Background()); err != nil {
				return err
			}
			if err := wrapped.flush(); err != nil {
				return err
			}
			below.Conn = c
			c = encrypted
		case packetLogin:
			if l.routes {
				_, err = c.Write(tdsPacket(1, append(routeTo(c.LocalAddr().(*net.TCPAddr).Port), (&standIn{}).loginAs("")...)...))
			} else {
				_, err = c.Write(l.login)
			}
		default:
			err = l.say(c)
		}
		if err != nil {
			return err
		}
	}
}

// Honest parts of the three protocols.

// message is one of PostgreSQL.
func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

var postgresqlLogin = append(message('R', "\x00\x00\x00\x00"), message('Z', "I")...)

func mysqlPacket(number byte, body ...byte) []byte {
	return append([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), number}, body...)
}

func mysqlGreeting(withTLS bool) []byte {
	flags := uint32(0x0008_0000 | 0x8000 | 0x0200 | 0x0100_0000 | 0x0001) // plugins, 41, deprecated EOF, MySQL
	if withTLS {
		flags |= 0x0800
	}
	b := append([]byte{10}, "8.0.0\x00\x01\x00\x00\x0012345678\x00"...)
	b = binary.LittleEndian.AppendUint16(b, uint16(flags))
	b = append(b, 45, 2, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(flags>>16))
	b = append(append(b, 21), make([]byte, 10)...)
	return mysqlPacket(0, append(b, "123456789012\x00mysql_native_password\x00"...)...)
}

var mysqlLogin = mysqlPacket(2, 0, 0, 0, 2, 0, 0, 0)

func tdsPacket(last byte, body ...byte) []byte {
	head := []byte{packetAnswer, last, 0, 0, 0, 0, 1, 0}
	binary.BigEndian.PutUint16(head[2:], uint16(len(body)+8))
	return append(head, body...)
}

func tdsPrelogin(encryption byte) []byte {
	return tdsPacket(1, 1, 0, 6, 0, 1, 0xff, encryption)
}

// routeTo sends a login to a port of this machine.
func routeTo(port int) []byte {
	return sized(tokenOfChange, append([]byte{20, 23, 0, 0, byte(port), byte(port >> 8), 9, 0}, append(wide("127.0.0.1"), 0, 0)...))
}

var tdsLogin = tdsPacket(1, (&standIn{}).loginAs("")...)

// liar is a server that lies to everybody.
func liar(t testing.TB, triggerType string, l lie, certificate *tls.Config) (address string) {
	t.Helper()
	return scalertest.Listen(t, func(c net.Conn) {
		_ = l.tell(triggerType, c, certificate) // it ends with the client
	})
}

// repeated is a part that is long enough to be sent at a fair pace.
func repeated(b []byte) []byte {
	var all []byte
	for len(all) < 32<<10 {
		all = append(all, b...)
	}
	return all
}

// lies of each type, on top of honest parts.
func lies(canary string) map[string]map[string]lie {
	info := func(kind byte) []byte {
		return sized(kind, append(append([]byte{1, 0, 0, 0, 1, 0, 1, 0}, wide("x")...), make([]byte, 6)...))
	}
	tdsColumn := func(kind ...byte) []byte {
		return append(append([]byte{tokenColumns, 1, 0, 0, 0, 0, 0, 1, 0}, kind...), 0)
	}
	mysqlColumn := mysqlPacket(2, 3, 'd', 'e', 'f', 0, 0, 0, 1, 'n', 0, 12, 33, 0, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0)
	return map[string]map[string]lie{
		"postgresql": {
			"a row of 1 GiB":                    {answer: []byte("D\x40\x00\x00\x00")},
			"columns of 2 GiB":                  {answer: []byte("T\x7f\xff\xff\xff")},
			"an error of 1 GiB":                 {answer: []byte("E\x40\x00\x00\x00")},
			"a length below that of the length": {answer: []byte("D\x00\x00\x00\x00")},
			"notices without end":               {answer: repeated(message('N', "SNOTICE\x00Mx\x00\x00")), endless: true},
			"notifications without end":         {answer: repeated(message('A', "\x00\x00\x00\x01c\x00"+strings.Repeat("x", 7000)+"\x00")), endless: true},
			"settings without end":              {answer: repeated(message('S', "name\x00value\x00")), endless: true},
			"a login of 1 GiB":                  {login: []byte("R\x40\x00\x00\x00")},
			"settings of a login without end":   {login: append(message('R', "\x00\x00\x00\x00"), []byte(strings.Repeat(string(message('S', "name\x00value\x00")), 100_000))...)},
		},
		"mysql": {
			"a greeting of 16 MiB":         {greeting: []byte{0xff, 0xff, 0xff, 0}},
			"2 to the 40 columns":          {answer: mysqlPacket(1, 0xfe, 0, 0, 0, 0, 0, 1, 0, 0)},
			"2 to the 62 columns":          {answer: mysqlPacket(1, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0x40)},
			"16 million columns":           {answer: mysqlPacket(1, 0xfd, 0xff, 0xff, 0xff)},
			"packets of 16 MiB":            {answer: append([]byte{0xff, 0xff, 0xff, 1}, make([]byte, 64<<10)...), endless: true},
			"columns without end":          {answer: append(mysqlPacket(1, 0xfc, 0xff, 0xff), repeated(mysqlColumn)...), endless: true},
			"a file is asked for":          {answer: mysqlPacket(1, append([]byte{0xfb}, canary...)...)},
			"a switch of logins":           {login: mysqlPacket(2, append([]byte{0xfe}, strings.Repeat("x", 1000)...)...)},
			"a packet that has nothing":    {answer: []byte{0, 0, 0, 1}},
			"a number that is cut":         {answer: mysqlPacket(1, 0xfc)},
			"a login that has nothing":     {login: mysqlPacket(2)},
			"a greeting that is too short": {greeting: mysqlPacket(0, 10, 'x', 0)},
		},
		"mssql": {
			"4 billion hints of a login":          {login: tdsPacket(0, append([]byte{0xee}, "\x10\x00\x00\x00\xff\xff\xff\xff"...)...)},
			"hints in an answer":                  {answer: tdsPacket(0, append([]byte{0xee}, "\x10\x00\x00\x00\xff\xff\xff\x7f"...)...)},
			"a value of 2 GiB in pieces":          {answer: tdsPacket(0, append(tdsColumn(0xa7, 0xff, 0xff, 9, 4, 0, 0, 0), append([]byte{tokenRow}, "\xff\xff\xff\x7f\x00\x00\x00\x00"...)...)...)},
			"pieces of 2 GiB":                     {answer: tdsPacket(0, append(tdsColumn(0xa7, 0xff, 0xff, 9, 4, 0, 0, 0), append([]byte{tokenRow}, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"...)...)...)},
			"a text of 2 GiB":                     {answer: tdsPacket(0, append(append([]byte{tokenColumns, 1, 0, 0, 0, 0, 0, 1, 0, 0x23}, "\xff\xff\xff\x7f\x09\x04\x00\x00\x00\x00\x00"...), append([]byte{tokenRow, 1, 1}, "\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\x7f"...)...)...)},
			"a variant of 2 GiB":                  {answer: tdsPacket(0, append(tdsColumn(0x62, 0, 0, 0, 0x7f), append([]byte{tokenRow}, "\xff\xff\xff\x7f\xa5\x02\x00\x00"...)...)...)},
			"notices without end":                 {answer: repeated(tdsPacket(0, info(tokenOfInfo)...)), endless: true},
			"errors without end":                  {answer: repeated(tdsPacket(0, info(tokenError)...)), endless: true},
			"a change that nobody knows":          {answer: tdsPacket(0, append(sized(tokenOfChange, []byte{99, 0, 0}), 0xee)...)},
			"a notice longer than it says":        {answer: tdsPacket(0, tokenOfInfo, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 'x', 0, 0, 0, 0, 0, 0, 0)},
			"packets larger than their room":      {answer: tdsPacket(0, sized(tokenOfChange, append(append([]byte{4, 5}, wide("99999")...), 0))...)},
			"a packet of nothing":                 {answer: []byte{packetAnswer, 1, 0, 0, 0, 0, 1, 0}},
			"an answer that goes on past its end": {answer: tdsPacket(1, append(done(), 0xee)...)},
			"keys of encrypted columns":           {login: tdsPacket(1, append([]byte{0xae, 4, 1, 0, 0, 0, 1, 0xff}, done()...)...)},
			"much behind an error":                {answer: tdsPacket(1, append(append(append(failed(208), tokenDone, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), strings.Repeat("\x79\x00\x00\x00\x00", 100)...), done()...)...)},
			"much behind an error of a login":     {login: tdsPacket(1, append(append(append(failed(18456), tokenDone, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), strings.Repeat("\x79\x00\x00\x00\x00", 100)...), done()...)...)},
			"logins that go elsewhere":            {routes: true},
		},
	}
}

// honest fills in what a lie leaves out.
func (l lie) honest(triggerType string, withTLS bool) lie {
	fill := func(part *[]byte, honest []byte) {
		if *part == nil {
			*part = honest
		}
	}
	switch triggerType {
	case "postgresql":
		fill(&l.login, postgresqlLogin)
	case "mysql":
		fill(&l.greeting, mysqlGreeting(withTLS))
		fill(&l.login, mysqlLogin)
	case "mssql":
		encryption := byte(encryptNothing)
		if withTLS {
			encryption = encryptAll
		}
		fill(&l.greeting, tdsPrelogin(encryption))
		fill(&l.login, tdsLogin)
	}
	return l
}

// connecting is how a trigger connects to a server, with TLS that believes
// anybody or without.
func connecting(triggerType, address string, withTLS bool) map[string]string {
	switch triggerType {
	case "postgresql":
		return map[string]string{"connection": "postgres://u:p@" + address + "/d?sslmode=" + map[bool]string{true: "require", false: "disable"}[withTLS]}
	case "mysql":
		return map[string]string{"connectionString": "u:p@tcp(" + address + ")/d?tls=" + map[bool]string{true: "skip-verify", false: "false"}[withTLS]}
	default:
		return map[string]string{"connectionString": "sqlserver://u:p@" + address + "?encrypt=" + map[bool]string{true: "true&trustservercertificate=true", false: "disable"}[withTLS]}
	}
}

func certificate() *tls.Config {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	server.Close()
	return &tls.Config{Certificates: server.TLS.Certificates, MaxVersion: tls.VersionTLS12} //nolint:gosec // SQL Server's, within packets
}

var constant = map[string]string{"query": "SELECT 42", "targetQueryValue": "1", "queryValue": "1", "targetValue": "1"}

// TestServersThatLie has servers announce more than there is, or speak without
// end: it costs an error and little memory.
func TestServersThatLie(t *testing.T) {
	const most = 24 << 20
	c := newCanary(t)
	certificate := certificate()
	for triggerType, all := range lies(filepath.Join(c.dir, "ca.pem")) {
		for name, l := range all {
			for _, withTLS := range []bool{false, true} {
				t.Run(fmt.Sprint(triggerType, "/", name, "/TLS=", withTLS), func(t *testing.T) {
					config := certificate
					if !withTLS {
						config = nil
					}
					auth := connecting(triggerType, liar(t, triggerType, l.honest(triggerType, withTLS), config), withTLS)
					family := scalertest.Serve(t, triggers...).WithAuth(auth)
					before := scalertest.Allocated()
					got, err := family.Observe(t.Context(), triggerType, constant)
					if code := status.Code(err); code != codes.Unavailable && code != codes.FailedPrecondition && (!strings.Contains(name, "error") || code != codes.NotFound && code != codes.Unauthenticated) {
						t.Errorf("observed %+v, %v", got, err)
					}
					if grown := scalertest.Allocated() - before; grown > most {
						t.Errorf("it took %d MiB of memory, with %v", grown>>20, err)
					}
					if c.opened() {
						t.Error("a file was opened")
					}
				})
			}
		}
	}
}

// TestPasswordsThatAreHashedForever has a server of PostgreSQL ask for ten million
// iterations, which its client counts to: seconds, of each connection.
func TestPasswordsThatAreHashedForever(t *testing.T) {
	challenge := func(iterations int) []byte {
		return message('R', fmt.Sprintf("\x00\x00\x00\x0br=nonce,s=c2FsdA==,i=%d", iterations))
	}
	l := lie{login: append(message('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"), challenge(10_000_000)...)}
	auth := connecting("postgresql", liar(t, "postgresql", l.honest("postgresql", false), nil), false)
	family := scalertest.Serve(t, triggers...).WithAuth(auth)
	if _, err := family.Observe(t.Context(), "postgresql", constant); err == nil || !strings.Contains(err.Error(), "more than 100000 iterations") {
		t.Errorf("error = %v", err)
	}
	for i := range challenge(10_000_000) {
		m := &messages{longest: mostMessage}
		if err := errors.Join(m.Check(challenge(10_000_000)[:i]), m.Check(challenge(10_000_000)[i:])); err == nil {
			t.Errorf("in two pieces, of which the first has %d bytes: it is let through", i)
		}
	}
	if err := (&messages{longest: mostMessage}).Check(challenge(4096)); err != nil {
		t.Errorf("what PostgreSQL asks for: %v", err)
	}
}

// TestChallengesComeAlone: a password is hashed in turn whatever comes behind the
// challenge in the same piece.
func TestChallengesComeAlone(t *testing.T) {
	challenge := message('R', "\x00\x00\x00\x0br=nonce,s=c2FsdA==,i=4096")
	for name, behind := range map[string]string{"the end of SCRAM": "\x00\x00\x00\x0cv=proof", "another challenge": "\x00\x00\x00\x0br=nonce,s=c2FsdA==,i=4096", "a login": "\x00\x00\x00\x00"} {
		m := &messages{longest: mostMessage}
		if err := m.Check(append(challenge, message('R', behind)...)); !errors.Is(err, errAhead) {
			t.Errorf("%s behind a challenge: %v", name, err)
		}
	}
	late := &messages{longest: mostMessage}
	if err := late.Check(postgresqlLogin); err != nil {
		t.Fatal(err)
	}
	if err := late.Check(challenge); !errors.Is(err, errAhead) {
		t.Errorf("a challenge behind the login: %v", err)
	}
	m := &messages{longest: mostMessage}
	if err := m.Check(append(challenge, message('N', "\x00")...)); err != nil || !m.hashes {
		t.Errorf("a notice behind a challenge: %v, hashes %v", err, m.hashes)
	}
}

// TestPasswordsAreHashedInTurn: what a server makes a login compute waits while others
// do, and the turn ends with the driver's answer, or with the connection.
func TestPasswordsAreHashedInTurn(t *testing.T) {
	challenge := message('R', "\x00\x00\x00\x0br=nonce,s=c2FsdA==,i=4096")
	for name, leave := range map[string]func(net.Conn) error{
		"an answer": func(c net.Conn) error { _, err := c.Write([]byte("p")); return err },
		"an end":    net.Conn.Close,
	} {
		t.Run(name, func(t *testing.T) {
			scalertest.NobodyComputes(t, func(ctx context.Context) error {
				near, far := net.Pipe()
				defer far.Close()
				config, err := pgx.ParseConfig("host=localhost sslmode=disable")
				if err != nil {
					return err
				}
				overTheirLines(config, func(context.Context, string, string) (net.Conn, error) { return near, nil }, client.HashingOf(ctx))
				conn, err := config.DialFunc(ctx, "tcp", "localhost:5432")
				if err != nil {
					return err
				}
				defer conn.Close()
				go func() {
					_, _ = far.Write(challenge)
					_, _ = io.Copy(io.Discard, far)
				}()
				if _, err := config.BuildFrontend(conn, conn).Receive(); err != nil {
					return err
				}
				if conn.(*line).turn.Load() == nil {
					t.Error("the driver hashes without a turn")
				}
				err = leave(conn)
				if conn.(*line).turn.Load() != nil {
					t.Error("the turn goes on")
				}
				return err
			})
		})
	}
}

// TestKeysWithoutMeasure has MySQL give a key that takes long to encrypt with.
func TestKeysWithoutMeasure(t *testing.T) {
	for bits, want := range map[int]bool{2048: true, mostBits: true, mostBits + 64: false} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1)) //nolint:gosec // it is positive
		der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537})
		if err != nil {
			t.Fatal(err)
		}
		if got := wellKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})); got != want {
			t.Errorf("%d bits: %v", bits, got)
		}
	}
}

// TestLongAnswers has real servers answer at length.
func TestLongAnswers(t *testing.T) {
	const most = 48 << 20
	tests := map[string]struct {
		postgresql, mysql string
		want              float64
		code              codes.Code
		message           string
	}{
		"a million rows": {postgresql: "SELECT generate_series(7, 1000000)", mysql: "SELECT 7 FROM seq_1_to_1000000", want: 7},
		"a row of many megabytes": {postgresql: "SELECT repeat('x', 64*1024*1024)", mysql: "SELECT REPEAT('x', 15*1024*1024)",
			code: codes.FailedPrecondition, message: "query: the answer is not one number"},
		"a number of 100,000 digits": {postgresql: "SELECT repeat('9', 100000)::numeric", mysql: "SELECT REPEAT('9', 100000)",
			code: codes.FailedPrecondition, message: "query: the answer is not one number"},
	}
	run(t, servers.SharedMariaDB(t), "SET GLOBAL max_allowed_packet=67108864")
	for name, tt := range tests {
		for _, s := range databases(t) {
			t.Run(name+"/"+s.triggerType, func(t *testing.T) {
				family := scalertest.Serve(t, triggers...).WithAuth(s.auth)
				metadata := map[string]string{"query": map[string]string{"postgresql": tt.postgresql, "mysql": tt.mysql}[s.triggerType]}
				for key, value := range s.metadata {
					metadata[key] = value
				}
				before := scalertest.Allocated()
				got, err := family.Observe(t.Context(), s.triggerType, metadata)
				if status.Code(err) != tt.code || err == nil && got.Value != tt.want {
					t.Errorf("observed %+v, %v, want %v %s", got, err, tt.code, tt.message)
				}
				if grown := scalertest.Allocated() - before; grown > most {
					t.Errorf("it took %d MiB of memory", grown>>20)
				}
				metadata["query"] = "SELECT 3" // and the next one has a session
				if got, err := family.Observe(context.WithoutCancel(t.Context()), s.triggerType, metadata); err != nil || got.Value != 3 {
					t.Errorf("afterwards: %+v, %v", got, err)
				}
			})
		}
	}
}
