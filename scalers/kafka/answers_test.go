package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestLayouts encodes answers of all kinds that are asked for, in all versions,
// with the client's own encoder, and walks through them to the last byte.
func TestLayouts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for key, l := range layouts {
		request := kmsg.RequestForKey(key)
		for version := int16(0); version <= newestOf(t, key); version++ {
			request.SetVersion(version)
			if flexible := version >= l.flexible; flexible != request.IsFlexible() {
				t.Errorf("%s version %d: flexible %v", kmsg.NameForKey(key), version, flexible)
			}
			for range 50 {
				response := request.ResponseKind()
				fill(random, reflect.ValueOf(response).Elem(), 0)
				response.SetVersion(version)
				body := response.AppendTo(nil)
				w := &walk{rest: body, version: version, flexible: version >= l.flexible}
				if _, err := l.follow(w); err != nil || len(w.rest) != 0 {
					t.Fatalf("%s version %d: %v, %d of %d bytes left", kmsg.NameForKey(key), version, err, len(w.rest), len(body))
				}
			}
		}
	}
}

// newestOf is the newest version of a request that this family makes.
func newestOf(t *testing.T, key int16) int16 {
	t.Helper()
	versions, err := protocol("")
	if err != nil {
		t.Fatal(err)
	}
	newest, ok := versions.LookupMaxKeyVersion(key)
	if !ok {
		t.Fatalf("%s is no request", kmsg.NameForKey(key))
	}
	return newest
}

// fill sets a value and what is in it to anything.
func fill(random *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[kmsg.Tags]() {
			if random.IntN(4) == 0 {
				v.Addr().Interface().(*kmsg.Tags).Set(uint32(100+random.IntN(5)), make([]byte, random.IntN(5)))
			}
			return
		}
		for i := range v.NumField() {
			fill(random, v.Field(i), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), random.IntN(4), 4))
		for i := range v.Len() {
			fill(random, v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(random, v.Index(i), depth+1)
		}
	case reflect.Pointer:
		if random.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(random, v.Elem(), depth+1)
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", random.IntN(200)))
	case reflect.Bool:
		v.SetBool(random.IntN(2) == 0)
	case reflect.Uint8:
		v.SetUint(uint64(random.IntN(256)))
	default:
		v.SetInt(int64(int8(random.Uint32()))) // fits all
	}
}

// answerIn is an answer with its length and number, whose rest is body.
func answerIn(answer []byte, body ...[]byte) []byte {
	frame := slicesOf(answer[4:8], body...)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

func slicesOf(first []byte, more ...[]byte) []byte {
	return bytes.Join(append([][]byte{first}, more...), nil)
}

// TestLyingBroker has a broker announce more than there is, in each place where
// the client believes it, and send more than anybody needs. The reading fails
// and says so, without the memory and the time that it asked for.
func TestLyingBroker(t *testing.T) {
	zeros := make([]byte, 4<<20)
	everywhere := func(frame func(answer []byte) []byte) lie {
		return func(_ asked, answer []byte) []byte { return frame(answer) }
	}
	of := func(key int16, frame func(answer []byte) []byte) lie {
		return func(a asked, answer []byte) []byte {
			if a.key != key {
				return answer
			}
			return frame(answer)
		}
	}
	short := errShort.Error()
	tests := map[string]struct {
		lie  lie
		want string
	}{
		"the length of an answer": {
			everywhere(func([]byte) []byte { return []byte{0x7f, 0xff, 0xff, 0xff} }), "announced an answer of 2147483647 bytes"},
		"a negative length": {
			everywhere(func([]byte) []byte { return []byte{0xff, 0xff, 0xff, 0xff} }), "announced an answer of 4294967295 bytes"},
		"a length of nothing": {
			everywhere(func([]byte) []byte { return []byte{0, 0, 0, 0} }), short},
		"the length of a list": {
			of(metadataKey, func(answer []byte) []byte {
				// tags, throttle, no brokers, cluster, controller, topics
				return answerIn(answer, []byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, binary.AppendUvarint(nil, 4<<20), zeros)
			}), "takes more than"},
		"the length of a list in each of a list": {
			of(offsetFetchKey, func(answer []byte) []byte {
				topics := bytes.Repeat(slicesOf([]byte{1}, binary.AppendUvarint(nil, 100_000)), 1000)
				return answerIn(answer, []byte{0, 0, 0, 0, 0, 2, 1, 0xe9, 0x07}, topics, zeros[:100_000])
			}), "the broker sent"},
		"the number of tags": {
			of(metadataKey, func(answer []byte) []byte {
				return answerIn(answer, []byte{0xff, 0xff, 0xff, 0xff, 0x07})
			}), short},
		"the number of tags in what a tag has": {
			of(apiVersionsKey, func(answer []byte) []byte {
				feature := []byte{2, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07}
				return answerIn(answer, []byte{0, 0, 2, 0, 3, 0, 0, 0, 13, 0, 0, 0, 0, 0, 1, 0, byte(len(feature))}, feature)
			}), short},
		"brokers without number": {
			of(metadataKey, func(answer []byte) []byte {
				return answerIn(answer, []byte{0, 0, 0, 0, 0}, binary.AppendUvarint(nil, 2001), bytes.Repeat([]byte{0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0}, 2000))
			}), "more than 1000 brokers"},
		"requests that it knows without number": {
			of(apiVersionsKey, func(answer []byte) []byte {
				return answerIn(answer, []byte{0, 0}, binary.AppendUvarint(nil, 2001), make([]byte, 7*2000))
			}), "more than 1000 kinds of requests"},
	}
	l := newLiar(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := join(t, l.servers)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			l.tell(tt.lie)
			defer l.tell(nil)
			before := scalertest.Allocated()
			_, err := newLagSource(c, question{group: "crew", topics: []string{"jobs"}}).Read(ctx)
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v", err)
			}
			if took := scalertest.Allocated() - before; took > 128<<20 {
				t.Errorf("the lie cost %d bytes", took)
			}
		})
	}
}

// TestHalfAnAnswer has a broker announce as much as it may and send nothing of
// it: memory is taken for what came.
func TestHalfAnAnswer(t *testing.T) {
	ours, theirs := net.Pipe()
	conn := newFrames(ours, "broker:9092", &ledger{})
	request := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, kmsg.NewPtrMetadataRequest(), 0)
	go func() {
		defer theirs.Close()
		_, _ = io.ReadFull(theirs, make([]byte, len(request)))
		_, _ = theirs.Write(binary.BigEndian.AppendUint32(nil, mostAnswer))
	}()
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	before := scalertest.Allocated()
	if n, err := conn.Read(make([]byte, 4)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("handed over %d bytes of half an answer, %v", n, err)
	}
	if took := scalertest.Allocated() - before; took > 1<<20 {
		t.Errorf("%d bytes taken for it", took)
	}
}

// ledger is memory that there is enough of.
type ledger struct{ holding atomic.Int64 }

func (l *ledger) Decoded(int) error { return nil }

func (l *ledger) Holding(change int) { l.holding.Add(int64(change)) }

// TestHalfAnswersAreCounted whether or not somebody reads, and until the answer
// was handed over, or is given up.
func TestHalfAnswersAreCounted(t *testing.T) {
	const size = 1 << 20
	request := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, kmsg.NewPtrMetadataRequest(), 0)
	for name, ends := range map[string]func(conn *frames, theirs net.Conn){
		"the broker hangs up": func(_ *frames, theirs net.Conn) { theirs.Close() },
		"the client does":     func(conn *frames, _ net.Conn) { conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			memory := &ledger{}
			conn := newFrames(ours, "broker:9092", memory)
			half := make(chan struct{})
			go func() {
				defer close(half)
				_, _ = io.ReadFull(theirs, make([]byte, len(request)))
				_, _ = theirs.Write(append(binary.BigEndian.AppendUint32(nil, size), make([]byte, size/2)...))
			}()
			if _, err := conn.Write(request); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() {
				_, err := conn.Read(make([]byte, 4))
				ended <- err
			}()
			<-half
			if got := memory.holding.Load(); got != size {
				t.Errorf("%d bytes are counted, want %d", got, size)
			}
			ends(conn, theirs)
			if err := <-ended; err == nil {
				t.Error("half an answer was handed over")
			}
			if got := memory.holding.Load(); got != 0 {
				t.Errorf("%d bytes are counted of an answer that nobody gets", got)
			}
			conn.Close()
			theirs.Close()
		})
	}
}

// TestManyPartitions has a topic of as many partitions as a broker cares to
// make up. It ends only because nobody compares each with each.
func TestManyPartitions(t *testing.T) {
	const many = 2_000_000
	wanted := make(map[string]map[string][]int32)
	for number := range int32(many) {
		include(wanted, "crew", partition{"jobs", number})
	}
	if got := len(wanted["crew"]["jobs"]); got != many {
		t.Errorf("%d of %d partitions are wanted", got, many)
	}
}

// TestCountingForever has a broker ask for the hash of a password without end.
func TestCountingForever(t *testing.T) {
	challenge := func(iterations string) error {
		session, first, err := careful{Mechanism: scram.Auth{User: "u", Pass: "p"}.AsSha256Mechanism()}.Authenticate(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := bytes.Cut(first, []byte(",r="))
		_, _, err = session.Challenge(slicesOf([]byte("r="), nonce, []byte("x,s=c2FsdA==,i="+iterations)))
		return err
	}
	if err := challenge("4000000000"); err == nil || !strings.Contains(err.Error(), "iterations") {
		t.Errorf("error = %v", err)
	}
	if err := challenge("16384"); err != nil {
		t.Errorf("what Kafka asks for at most: %v", err)
	}
}

// TestPasswordsAreHashedInTurn: what a broker makes a login compute waits while others
// do, and namespaces take turns.
func TestPasswordsAreHashedInTurn(t *testing.T) {
	scalertest.NobodyComputes(t, func(ctx context.Context) error {
		login := careful{Mechanism: scram.Auth{User: "u", Pass: "p"}.AsSha256Mechanism(), hashing: client.HashingOf(ctx)}
		session, first, err := login.Authenticate(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := bytes.Cut(first, []byte(",r="))
		_, _, err = session.Challenge(slicesOf([]byte("r="), nonce, []byte("x,s=c2FsdA==,i=4096")))
		return err
	})
	r := startRealm(t)
	refusal := messages.NewKRBError(types.NewPrincipalName(nametype.KRB_NT_SRV_INST, "krbtgt/EXAMPLE"), "EXAMPLE", errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN, "")
	refused, err := refusal.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	r.answer = func([]byte) []byte { return framed(refused) }
	scalertest.NobodyComputes(t, func(ctx context.Context) error {
		_, _, err := logIn(ctx, t, fmt.Sprintf(krb5, r.address))
		r.answer = nil
		if err != nil && ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
		return err
	})
}

// panicking is a login that trusts the broker.
type panicking struct{}

func (panicking) Name() string { return "PANIC" }
func (p panicking) Authenticate(context.Context, string) (sasl.Session, []byte, error) {
	return p, []byte("x"), nil
}
func (panicking) Challenge(said []byte) (bool, []byte, error) { return said[4] == 0, nil, nil }

// TestMalformedLogin has a broker send a login's library less than it needs.
func TestMalformedLogin(t *testing.T) {
	session, _, err := careful{Mechanism: panicking{}}.Authenticate(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := session.Challenge(nil); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("error = %v", err)
	}
}

// TestLongNamesOfBrokers are refused: they are kept, and dialled.
func TestLongNamesOfBrokers(t *testing.T) {
	for name, broker := range map[string]kmsg.MetadataResponseBroker{
		"host": {Host: strings.Repeat("a", longestHost+1)},
		"rack": {Rack: kmsg.StringPtr(strings.Repeat("a", longestHost+1))},
	} {
		answer := kmsg.NewPtrMetadataResponse()
		answer.Version, answer.Brokers = 12, []kmsg.MetadataResponseBroker{broker}
		if _, err := layouts[metadataKey].check(answer.AppendTo(nil), 12); err == nil || !strings.Contains(err.Error(), "more than 264 bytes") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
