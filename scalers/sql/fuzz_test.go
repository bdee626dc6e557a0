package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	mssql "github.com/microsoft/go-mssqldb"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// piped has a driver open one database whose server lies, within the process.
type piped struct {
	lie         lie
	triggerType string
	certificate *tls.Config
	patient     bool
	running     sync.WaitGroup

	mu     sync.Mutex
	theirs []net.Conn // ends of connections
	closed bool
}

// close ends what a driver has left, which may dial still.
func (p *piped) close() {
	p.mu.Lock()
	p.closed = true
	for _, c := range p.theirs {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// remote is a connection that says where it leads, as those of TCP do.
type remote struct{ net.Conn }

func (remote) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// impatient is a server's end that hangs up when nothing is said to it, or
// nobody listens, so that a client which waits for more is not waited for.
type impatient struct{ net.Conn }

func (c impatient) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // else it is closed
	return c.Conn.Read(p)
}

func (c impatient) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)) // as above
	return c.Conn.Write(p)
}

func (p *piped) dial(context.Context, string, string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	ours, theirs := net.Pipe()
	p.theirs = append(p.theirs, theirs)
	p.running.Go(func() {
		defer theirs.Close()
		if p.patient {
			_ = p.lie.tell(p.triggerType, theirs, p.certificate)
		} else {
			_ = p.lie.tell(p.triggerType, impatient{theirs}, p.certificate)
		}
	})
	return remote{ours}, nil
}

// open is the database, as the triggers open it.
func (p *piped) open(t *testing.T) *sql.DB {
	t.Helper()
	withTLS := p.certificate != nil
	dsn := connecting(p.triggerType, "192.0.2.1:1", withTLS)
	switch p.triggerType {
	case "postgresql":
		config, err := parsePostgreSQL(dsn["connection"])
		if err != nil {
			t.Fatal(err)
		}
		overTheirLines(config, p.dial, nil)
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
		login := func(context.Context, *pgx.ConnConfig) error { return nil }
		return sql.OpenDB(connector{queriesOf(config, login)})
	case "mysql":
		config, err := mysqlParams{ConnectionString: dsn["connectionString"]}.config()
		if err != nil {
			t.Fatal(err)
		}
		config.Logger = &mysql.NopLogger{}
		overLines(config, p.dial)
		inner, err := mysql.NewConnector(config)
		if err != nil {
			t.Fatal(err)
		}
		return sql.OpenDB(connector{boundedConnector{inner}})
	default:
		config, err := parseMSSQL(dsn["connectionString"])
		if err != nil {
			t.Fatal(err)
		}
		inner := mssql.NewConnectorConfig(belowTLS(config))
		inner.Dialer = lineDialer{p.dial, config}
		return sql.OpenDB(connector{inner})
	}
}

// mostFuzzed is what a lie may cost in memory, over all that a driver tries.
const mostFuzzed = 48 << 20

// fuzzServer proves that a server which lies ends neither the process nor takes
// much of its memory, and that what is read of it is an error or a number. The
// three parts are what it says in the phases of a connection.
func fuzzServer(f *testing.F, triggerType string) {
	for _, l := range lies("/etc/passwd")[triggerType] {
		l = l.honest(triggerType, false)
		f.Add(l.greeting, l.login[:min(len(l.login), 4096)], l.answer[:min(len(l.answer), 4096)], l.endless, false)
	}
	for _, answer := range honestAnswers[triggerType] {
		l := (lie{}).honest(triggerType, false)
		f.Add(l.greeting, l.login, answer, false, false)
		l = (lie{}).honest(triggerType, true)
		f.Add(l.greeting, l.login, answer, false, true)
	}
	certificate := certificate()
	f.Fuzz(func(t *testing.T, greeting, login, answer []byte, endless, withTLS bool) {
		p := &piped{lie: lie{greeting: greeting, login: login, answer: answer, endless: endless}, triggerType: triggerType}
		if withTLS {
			p.certificate = certificate
		}
		db := p.open(t)
		d := &database{DB: db, what: triggerType, explain: explainPostgreSQL}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		before := scalertest.Allocated()
		_, _ = (&source{database: d, query: "SELECT 42", none: noRows}).Read(ctx)
		p.close()
		db.Close()
		if grown := scalertest.Allocated() - before; grown > mostFuzzed {
			t.Errorf("it took %d MiB of memory", grown>>20)
		}
	})
}

// honestAnswers are the beginnings of what is to be changed.
var honestAnswers = map[string][][]byte{
	"postgresql": {
		append(append(append(append(message('1', ""), message('2', "")...),
			message('T', "\x00\x01n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00")...),
			message('D', "\x00\x01\x00\x00\x00\x0242")...), append(message('C', "SELECT 1\x00"), message('Z', "I")...)...),
		append(message('E', "SERROR\x00C42P01\x00Mx\x00\x00"), message('Z', "I")...),
	},
	"mysql": {
		append(append(append(mysqlPacket(1, 1), mysqlPacket(2, 3, 'd', 'e', 'f', 0, 0, 0, 1, 'n', 0, 12, 33, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0)...),
			mysqlPacket(3, 2, '4', '2')...), mysqlPacket(4, 0xfe, 0, 0, 2, 0, 0, 0)...),
		mysqlPacket(1, append([]byte{0xff, 0x7a, 0x04}, "#42S02x"...)...),
	},
	"mssql": {
		tdsPacket(1, append(append(column(), tokenRow, 4, 42, 0, 0, 0), done()...)...),
		tdsPacket(1, append(failed(208), done()...)...),
		tdsPacket(1, append([]byte{tokenColumns, 1, 0, 0, 0, 0, 0, 1, 0, 0x62, 0, 0, 0, 0, 0, tokenRow, 6, 0, 0, 0, 0x38, 0, 42, 0, 0, 0}, done()...)...),
		tdsPacket(1, append([]byte{tokenColumns, 1, 0, 0, 0, 0, 0, 1, 0, 0xa7, 0xff, 0xff, 9, 4, 0, 0, 0, 0, tokenRow, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, '4', '2', 0, 0, 0, 0}, done()...)...),
		tdsPacket(1, append([]byte{tokenColumns, 1, 0, 0, 0, 0, 0, 1, 0, 0x6a, 5, 9, 0, 0, tokenOfRowWithNulls, 0, 5, 1, 42, 0, 0, 0}, done()...)...),
	},
}

func FuzzPostgreSQL(f *testing.F) { fuzzServer(f, "postgresql") }

func FuzzMySQL(f *testing.F) { fuzzServer(f, "mysql") }

func FuzzMSSQL(f *testing.F) { fuzzServer(f, "mssql") }

// TestServersThatDoNotRead: a write ends as well as a read does.
func TestServersThatDoNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		defer ours.Close()
		began := time.Now()
		_, err := (&tds{Conn: ours, transport: ours, agreed: true}).Write(make([]byte, longestPacket))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != longestWrite {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// TestHonestAnswers has servers that do not lie, with TLS and without.
func TestHonestAnswers(t *testing.T) {
	certificate := certificate()
	for triggerType, all := range honestAnswers {
		for i, answer := range all {
			for _, withTLS := range []bool{false, true} {
				p := &piped{lie: (lie{answer: answer}).honest(triggerType, withTLS), triggerType: triggerType, patient: true}
				if withTLS {
					p.certificate = certificate
				}
				db := p.open(t)
				got, err := (&source{database: &database{DB: db, what: triggerType, explain: explainPostgreSQL}, query: "SELECT 42", none: noRows}).Read(within(t))
				honest := i == 0 || triggerType == "mssql" && i > 1
				if honest && (err != nil || got[0].Value != 42) || !honest && err == nil {
					t.Errorf("%s, answer %d, TLS %v: %v, %v", triggerType, i, withTLS, got, err)
				}
				p.close()
				db.Close()
			}
		}
	}
}
