package attacks

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
)

// message is one of PostgreSQL's.
func message(kind byte, content string) string {
	return string(kind) + string(binary.BigEndian.AppendUint32(nil, uint32(4+len(content)))) + content
}

// loggedIn and column are a login without a password, and a result of one text.
var (
	loggedIn = message('R', "\x00\x00\x00\x00") + message('Z', "I")
	column   = message('T', "\x00\x01n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00")
)

// postgreSQLAnswers lets everybody in and answers as PostgreSQL does, but for
// kinds of messages that it is given answers to; the execution of a statement
// is answered with a beginning and then the same block without an end.
func postgreSQLAnswers(given map[byte]string, start, block string) func(net.Conn) {
	answers := map[byte]string{'Q': message('I', "") + message('Z', "I"), 'P': message('1', ""), 'D': message('t', "\x00\x00") + column, 'B': message('2', ""), 'S': message('Z', "I")}
	maps.Copy(answers, given)
	return func(conn net.Conn) {
		if !say1(conn, loggedIn) {
			return
		}
		head := make([]byte, 5)
		for {
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[1:]))-4); err != nil {
				return
			}
			if head[0] == 'E' {
				greets(start, block)(conn)
				return
			}
			if _, err := conn.Write([]byte(answers[head[0]])); err != nil {
				return
			}
		}
	}
}

// TestLiesToSQL has what passes for a database answer with rows, packets and
// errors larger than a family's memory.
func TestLiesToSQL(t *testing.T) {
	t.Parallel()
	row := message('D', "\x00\x01\x00\x00\x00\x01x")
	postgres := map[string]func(net.Conn){
		"length":     says("R\x7f\xff\xff\xff\x00\x00\x00\x00"),
		"minus":      says("R\xff\xff\xff\xff\x00\x00\x00\x00"),
		"error":      flood("E\x7f\xff\xff\xffSFATAL\x00M", "x", gib),
		"notices":    flood("", message('N', "SNOTICE\x00Mx\x00\x00"), gib),
		"parameters": flood("", message('S', "a\x00b\x00"), gib),
		"row":        postgreSQLAnswers(nil, "D\x40\x00\x00\x0a\x00\x01\x40\x00\x00\x00", "9"),
		"rows":       postgreSQLAnswers(nil, "", row),
		"columns":    postgreSQLAnswers(map[byte]string{'D': message('t', "\x00\x00") + "T\x00\x00\x00\x06\xff\xff"}, "", row),
		"names":      postgreSQLAnswers(map[byte]string{'D': message('t', "\x00\x00") + "T\x3f\xff\xff\xff\x00\x01n"}, "", row),
		"arguments":  postgreSQLAnswers(map[byte]string{'D': "t\x00\x00\x00\x06\xff\xff"}, "", row),
		"tls":        flood("S", "\x16\x03\x03\xff\xff", gib),
		"scram":      flood("R\x7f\xff\xff\xff\x00\x00\x00\x0bv=", "x", gib),
	}
	mysql := map[string]func(net.Conn){
		"packets":   greets("", "\xff\xff\xff\x00"+strings.Repeat("x", 1<<24-1)),
		"handshake": greets("\xff\xff\xff\x00\x0a", "x"),
		"error":     greets("\xff\xff\xff\x00\xff\x15\x04#28000", "x"),
		"half":      greets("\x4a\x00\x00\x00\x0a5.7.0", "\x00"),
	}
	mssql := map[string]func(net.Conn){
		"prelogin": flood("\x04\x00\xff\xff\x00\x00\x01\x00", "\xff", gib),
		"packets":  flood("", "\x04\x00\xff\xff\x00\x00\x01\x00"+strings.Repeat("\x00", 0xffff-8), gib),
		"empty":    flood("", "\x04\x00\x00\x08\x00\x00\x01\x00", gib),
	}
	sieges := map[string]siege{}
	for name, answer := range postgres {
		sieges["postgresql "+name] = siege{
			trigger: "postgresql", metadata: map[string]string{"query": "SELECT 1", "targetQueryValue": "1"},
			secret: map[string]string{"connection": "postgresql://me:me@ADDRESS/jobs?sslmode=" + map[bool]string{true: "require", false: "disable"}[name == "tls"]}, lie: lie{answer: answer},
		}
	}
	for name, answer := range mysql {
		sieges["mysql "+name] = siege{
			trigger: "mysql", metadata: map[string]string{"query": "SELECT 1", "queryValue": "1"},
			secret: map[string]string{"connectionString": "me:me@tcp(ADDRESS)/jobs"}, lie: lie{answer: answer},
		}
	}
	for name, answer := range mssql {
		sieges["mssql "+name] = siege{
			trigger: "mssql", metadata: map[string]string{"query": "SELECT 1", "targetValue": "1"},
			secret: map[string]string{"connectionString": "sqlserver://me:me@ADDRESS?database=jobs"}, lie: lie{answer: answer},
		}
	}
	besiege(t, "sql", sieges)
}

// greets tells a beginning at once, and floods with the rest.
func greets(start, block string) func(net.Conn) {
	return func(conn net.Conn) {
		_, err := conn.Write([]byte(start))
		many := bytes.Repeat([]byte(block), max(1, (256<<10)/len(block)))
		for sent := 0; err == nil && sent < gib; sent += len(many) {
			_, err = conn.Write(many)
		}
		for err == nil {
			_, err = conn.Read(make([]byte, 64<<10))
		}
	}
}
