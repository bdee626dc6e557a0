package wire

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
)

// TestCrowd has many endpoints that each keep within their own limit. The one
// that has sent the most goes, and those who send little go on.
func TestCrowd(t *testing.T) {
	before := everything
	everything = &ledger{limit: func() int64 { return 1000 }, conns: map[*conn]struct{}{}}
	t.Cleanup(func() { everything = before })

	receive := func(m *Meter, n int) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		conn := Count(ours, "queue:1", m, nil, Limits{Read: 800})
		go func() { _, _ = theirs.Write(make([]byte, n)) }() // ends with the pipe
		_, err := io.CopyN(io.Discard, conn, int64(n))
		return conn, err
	}
	var large, small, last Meter
	for _, m := range []*Meter{&large, &small, &last} {
		m.Begin()
	}
	one, err := receive(&large, 700)
	other, err2 := receive(&small, 200)
	third, err3 := receive(&last, 300)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Read(make([]byte, 1)); !errors.Is(err, errCrowded) || !errors.Is(large.Refusal(), errCrowded) {
		t.Errorf("the largest: %v", err)
	}
	if err := errors.Join(small.Refusal(), last.Refusal()); err != nil {
		t.Errorf("the others: %v", err)
	}
	if _, err := receive(&small, 500); err != nil {
		t.Errorf("there is no room after it: %v", err)
	}
	if _, err := receive(&small, 50); !errors.Is(err, errCrowded) { // 1050 in all
		t.Errorf("a reader that is the largest itself: %v", err)
	}
	for _, m := range []*Meter{&large, &small, &last} {
		m.End()
	}
	if left := everything.bytes.Load(); left != 0 {
		t.Errorf("%d bytes are left of reads that have ended", left)
	}
	for _, c := range []net.Conn{one, other, third} {
		c.Close()
	}
	if len(everything.conns) > 2 {
		t.Errorf("%d connections are left", len(everything.conns))
	}
}

// TestCrowdOfOneNamespace has many endpoints of one namespace send a little each,
// which is most of what there may be. The larger answer of another goes on.
func TestCrowdOfOneNamespace(t *testing.T) {
	before := everything
	everything = &ledger{limit: func() int64 { return 1000 }, conns: map[*conn]struct{}{}}
	t.Cleanup(func() { everything = before })
	crowd := make([]Meter, 10)
	var other Meter
	other.OwnedBy(func() []string { return []string{"shop"} })
	other.Begin()
	defer other.End()
	_, sendOther := pipe(t, &other)
	if err := sendOther(150); err != nil {
		t.Fatal(err)
	}
	for i := range crowd {
		crowd[i].OwnedBy(func() []string { return []string{"mallory"} })
		crowd[i].Begin()
		defer crowd[i].End()
		_, send := pipe(t, &crowd[i])
		if err := send(90); err != nil && !errors.Is(err, errCrowded) {
			t.Fatal(err)
		}
	}
	if err := errors.Join(sendOther(100), other.Refusal()); err != nil {
		t.Errorf("the other: %v", err)
	}
}

// TestCrowdOfSeveralNamespaces: what is read for several namespaces weighs on each of
// them, and who reads along with the one that has the most has nothing of it.
func TestCrowdOfSeveralNamespaces(t *testing.T) {
	before := everything
	everything = &ledger{limit: func() int64 { return 7000 }, conns: map[*conn]struct{}{}}
	t.Cleanup(func() { everything = before })
	open := func(m *Meter, of ...string) func(int) error {
		m.OwnedBy(func() []string { return of })
		m.Begin()
		t.Cleanup(m.End)
		_, send := pipe(t, m)
		return send
	}
	var alone, along Meter
	sendAlone, sendAlong := open(&alone, "shop"), open(&along, "mallory0", "shop")
	if err := errors.Join(sendAlone(300), sendAlong(300)); err != nil {
		t.Fatal(err)
	}
	sets := boundtest.Sets(7)
	crowd := make([]Meter, len(sets))
	for i := range crowd {
		if err := open(&crowd[i], sets[i]...)(90); err != nil && !errors.Is(err, errCrowded) {
			t.Fatal(err)
		}
	}
	if err := errors.Join(sendAlone(50), sendAlong(50), alone.Refusal(), along.Refusal()); err != nil {
		t.Errorf("the other: %v", err)
	}
}

// TestWhatIsMadeOfAnswers counts with the answers themselves: a few bytes may
// become a list of many.
func TestWhatIsMadeOfAnswers(t *testing.T) {
	before := everything
	everything = &ledger{limit: func() int64 { return 1000 }, conns: map[*conn]struct{}{}}
	t.Cleanup(func() { everything = before })
	ours, theirs := net.Pipe()
	defer theirs.Close()
	var large, small Meter
	conn := Count(ours, "broker:1", &large, nil, Limits{})
	defer conn.Close()
	if err := large.Made(2000); err != nil {
		t.Errorf("what comes while nobody reads: %v", err)
	}
	large.Begin()
	small.Begin()
	if err := errors.Join(large.Made(900), small.Made(50)); err != nil {
		t.Errorf("within what there is: %v", err)
	}
	if err := small.Made(60); err != nil || !errors.Is(large.Refusal(), errCrowded) {
		t.Errorf("beyond it: %v, and %v of the largest", err, large.Refusal())
	}
	large.End()
	small.End()
	if left := everything.bytes.Load(); left != 0 {
		t.Errorf("%d bytes are left of reads that have ended", left)
	}
}

// TestHalfAnswersOfNobody: they count though nobody reads, and one that has to
// make room is told by the end of its connection.
func TestHalfAnswersOfNobody(t *testing.T) {
	before := everything
	everything = &ledger{limit: func() int64 { return 1000 }, conns: map[*conn]struct{}{}}
	t.Cleanup(func() { everything = before })
	var large, small Meter
	one, _ := pipe(t, &large)
	other, send := pipe(t, &small)
	large.Hold(700)
	small.Hold(200)
	small.Hold(-200)
	small.Hold(400)
	if _, err := one.Read(make([]byte, 1)); !errors.Is(err, errCrowded) {
		t.Errorf("the largest: %v", err)
	}
	large.Hold(-700) // its buffer is gone by now
	if err := send(100); err != nil {
		t.Errorf("the other one: %v", err)
	}
	small.Hold(-400)
	if left := everything.bytes.Load(); left != 0 {
		t.Errorf("%d bytes are left", left)
	}
	other.Close()
}

// TestOneServersRoomIsNoOthers: who asks for memory is refused when it has to go
// itself, and not since another server of its endpoint was refused before.
func TestOneServersRoomIsNoOthers(t *testing.T) {
	var m Meter
	m.Begin()
	defer m.End()
	one, _ := pipe(t, &m)
	one.(*conn).refuse(errors.New("it lied"))
	if err := m.Made(1); err != nil {
		t.Errorf("another server: %v", err)
	}
}

// TestSilentCrowd has half answers take nearly all that there is. A larger one
// that comes does not make way for them.
func TestSilentCrowd(t *testing.T) {
	for name, fresh := range map[string]int{"silence": 0, "next to nothing": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := everything
				everything = &ledger{limit: func() int64 { return 1000 }, conns: map[*conn]struct{}{}}
				defer func() { everything = before }()
				var half, whole Meter
				half.Begin()
				whole.Begin()
				defer half.End()
				defer whole.End()
				silent, sendHalf := pipe(t, &half)
				_, sendWhole := pipe(t, &whole)
				err := sendHalf(400)
				for range 4 {
					<-time.After(longestSilence / 2)
					if fresh > 0 {
						err = errors.Join(err, sendHalf(fresh))
					}
				}
				if err = errors.Join(err, sendWhole(580), sendWhole(40)); err != nil {
					t.Errorf("the one that sends: %v", err)
				}
				if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, errCrowded) {
					t.Errorf("the silent one: %v", err)
				}
			})
		})
	}
}

// pipe returns a connection that is counted, and has its peer send.
func pipe(t *testing.T, m *Meter) (conn net.Conn, send func(n int) error) {
	ours, theirs := net.Pipe()
	conn = Count(ours, "queue:1", m, nil, Limits{Read: 800})
	t.Cleanup(func() { conn.Close(); theirs.Close() })
	return conn, func(n int) error {
		go func() { _, _ = theirs.Write(make([]byte, n)) }() // ends with the pipe
		_, err := io.CopyN(io.Discard, conn, int64(n))
		return err
	}
}
