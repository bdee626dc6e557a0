package inbound

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, ofOne = 16, 8
		g := NewGate(most, ofOne)
		var leave []func()
		enter := func(address string, into chan<- string) {
			go func() {
				if end, ok := g.Enter(t.Context(), address); ok {
					leave = append(leave, end)
					into <- address
				}
			}()
			synctest.Wait()
		}
		entered := make(chan string, 100)
		for i := range most / ofOne {
			for range ofOne * 2 {
				enter(fmt.Sprint("flood-", i), entered)
			}
		}
		if len(entered) != most {
			t.Fatalf("%d inside, want %d", len(entered), most)
		}
		for len(entered) > 0 {
			<-entered
		}
		enter("API server", entered)
		leave[0]()
		synctest.Wait()
		if next := <-entered; next != "API server" {
			t.Errorf("next is %s, want who has none inside", next)
		}
		for i := 1; i < len(leave); i++ {
			leave[i]()
			synctest.Wait()
		}
		if !g.line.Idle() {
			t.Errorf("%d inside at the end", g.line.Inside())
		}

		// Who gives up leaves no trace, and takes no place.
		for range ofOne {
			enter("one", entered)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, ok := g.Enter(ctx, "one"); ok {
			t.Error("one more than an address may have came in")
		}
		if g.line.Inside() != ofOne || g.line.Due() {
			t.Errorf("%d inside, and some wait", g.line.Inside())
		}
	})
}

// Of those who come from one address nobody waits behind all of one of them, and who
// says that it comes for many has no more places than its address.
func TestThoseOfAnAddressTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEntrance(16, 8, 4)
		entered := make(chan string, 1000)
		leave := make(chan func(), 1000)
		come := func(address, of string) {
			go func() {
				if end, ok := e.Enter(t.Context(), address, of); ok {
					leave <- end
					entered <- of
				}
			}()
			synctest.Wait()
		}
		for range 100 {
			come("API server", "flood")
		}
		if len(entered) != 4 {
			t.Fatalf("%d of one are inside", len(entered))
		}
		come("API server", "shop")
		if len(entered) != 5 {
			t.Error("another one of the address waits behind them")
		}
		for i := range 100 {
			come("API server", fmt.Sprint("flood-", i))
			come("stranger", fmt.Sprint("made-up-", i))
		}
		if len(entered) != 16 {
			t.Errorf("%d are inside", len(entered))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok := e.Enter(ctx, "third", "x"); ok {
			t.Error("one more than there is room for came in")
		}
		come("API server", "till")
		for len(leave) > 0 {
			(<-leave)()
			synctest.Wait()
		}
		if len(e.inner) != 0 || !e.outer.line.Idle() {
			t.Errorf("%d addresses are left", len(e.inner))
		}
	})
}

// Room is made at the expense of whoever has the most.
func TestFullPorch(t *testing.T) {
	p := newPorch(nil, 1024, 256)
	come := func(address string) *visit {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		return p.enter(from{ours, address})
	}
	for i := range p.most {
		if come(fmt.Sprintf("10.0.0.%d", i%8)) == nil {
			t.Fatalf("connection %d is refused", i)
		}
	}
	v := come("10.0.1.1")
	if v == nil || p.count != p.most {
		t.Fatalf("a newcomer is let in: %v, of %d", v != nil, p.count)
	}
	for range 10 { // who has the most has no more by that
		if come("10.0.0.1") == nil || p.count != p.most || len(p.open["10.0.0.1"]) > p.most/8+1 {
			t.Errorf("who has the most has %d, of %d", len(p.open["10.0.0.1"]), p.count)
		}
	}
	v = come("10.0.1.1")
	v.leave()
	v.leave()
	if p.count != p.most-1 || len(p.open["10.0.1.1"]) != 1 {
		t.Errorf("%d connections after one left", p.count)
	}
}

// However many addresses have one connection each, a newcomer comes in, in place of
// the one on which nothing moved for longest; those that were recognised stay.
func TestManyAddressesShutNobodyOut(t *testing.T) {
	const most = 128
	p := newPorch(nil, most, 32)
	closed := map[string]bool{}
	come := func(address string) *visit {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		return p.enter(told{from{ours, address}, closed})
	}
	known := []*visit{come("10.1.0.1"), come("10.1.0.1")}
	// Both are of one port here, which tells the two apart elsewhere.
	p.Recognise(known[0].RemoteAddr().String())
	flood := func() {
		for i := range 3 * most {
			if come(fmt.Sprintf("10.0.%d.%d", i/100, i%100)) == nil {
				t.Fatalf("address %d is refused", i)
			}
		}
	}
	flood()
	if closed["10.1.0.1"] != true || len(p.known) != 1 || p.count != most {
		t.Errorf("of two connections of an address, one of them recognised: closed %v, known %d, of %d", closed["10.1.0.1"], len(p.known), p.count)
	}
	for range 100 { // a kubelet, which asks and goes
		v := come("10.2.0.1")
		if v == nil {
			t.Fatal("a probe is refused")
		}
		v.leave()
		come("10.0.9.9")
	}
	for i := range 3 {
		if come("10.5.0.1") == nil {
			t.Errorf("an API server has %d connections alone", i)
		}
	}
	late := come("10.3.0.1")
	for i := range most - 1 {
		late.move()
		come(fmt.Sprintf("10.4.0.%d", i))
		late.move()
	}
	if closed["10.3.0.1"] {
		t.Error("one on which something moves gives way to those on which nothing does")
	}
	flood()
	if len(p.known) != 1 {
		t.Error("one that was recognised is gone")
	}
	for _, v := range known {
		v.leave()
	}
	if len(p.known) != 0 {
		t.Error("who left is remembered")
	}
}

// told is a connection whose end is noted.
type told struct {
	from
	closed map[string]bool
}

func (t told) Close() error {
	t.closed[t.host] = true
	return t.from.Close()
}

// from is a connection from an address.
type from struct {
	net.Conn
	host string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.host), Port: 1} }

// Anybody who reaches the port for scrapes may connect and send. The most that
// can be held is small, and a scraper at another address is answered.
func TestAFloodOfScrapes(t *testing.T) {
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var inside, most atomic.Int32
	full, release := make(chan struct{}), make(chan struct{})
	server := Server(Scrapes(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if n := inside.Add(1); n > most.Load() {
			most.Store(n)
			if n == mostScrapesOfOne {
				close(full)
			}
		}
		defer inside.Add(-1)
		<-release
	})))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	dial := func(from string) net.Conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	status := func(c net.Conn) int {
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	const scrape = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	long := dial("127.0.0.2")
	go fmt.Fprint(long, scrape+"X: "+strings.Repeat("x", 1<<20)+"\r\n\r\n") // is closed under its hands
	if code := status(long); code != http.StatusRequestHeaderFieldsTooLarge && code != 0 {
		t.Errorf("a header of 1 MiB is answered with %d", code)
	}
	for range mostConnectionsOfOne - 1 {
		fmt.Fprint(dial("127.0.0.2"), scrape+"\r\n")
	}
	<-full
	idle := dial("127.0.0.2")
	for range mostConnectionsOfOne { // those that are refused are closed
		idle = dial("127.0.0.2")
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("one more connection of an address is open: %v", err)
	}
	other := dial("127.0.0.3")
	fmt.Fprint(other, scrape+"\r\n")
	for inside.Load() != mostScrapesOfOne+1 && t.Context().Err() == nil {
		<-time.After(time.Millisecond)
	}
	close(release)
	if code := status(other); code != http.StatusOK {
		t.Errorf("a scraper at another address is answered with %d", code)
	}
	if n := most.Load(); n > mostScrapes {
		t.Errorf("%d scrapes at once", n)
	}
}
