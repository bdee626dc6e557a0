package attacks

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
)

// server keeps what it is sent.
type server struct {
	listener net.Listener
	mu       sync.Mutex
	heard    bytes.Buffer
	conns    map[net.Conn]bool // open ones; nil once closed
	wg       sync.WaitGroup
	// asked is closed with the first connection.
	asked chan struct{}
	first sync.Once
}

// mostHeard is how much of all that a server is sent is kept.
const mostHeard = 4 << 20

// roll has all servers, so that what they heard can be looked through at last.
type roll struct {
	mu  sync.Mutex
	all []*server
}

func startServer(address string) (*server, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return &server{listener: l, conns: map[net.Conn]bool{}, asked: make(chan struct{})}, nil
}

// listen starts a server of an enemy on a free port. It ends with the test.
func listen(t *testing.T) *server {
	t.Helper()
	s := honest(t, world.cluster.Address())
	world.servers.mu.Lock()
	defer world.servers.mu.Unlock()
	world.servers.all = append(world.servers.all, s)
	return s
}

// honest is listen for somebody who may hear secrets.
func honest(t *testing.T, address string) *server {
	t.Helper()
	s, err := startServer(net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// listenAnd has a server do the same on each connection.
func listenAnd(t *testing.T, answer func(net.Conn)) *server {
	t.Helper()
	s := listen(t)
	s.answerAll(answer)
	return s
}

func (s *server) answerAll(answer func(net.Conn)) {
	s.wg.Go(func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return // closed
			}
			s.wg.Go(func() {
				defer conn.Close()
				answer(conn)
			})
		}
	})
}

// web has a server speak HTTP.
func web(t *testing.T, handler http.HandlerFunc) *server {
	t.Helper()
	s := listen(t)
	s.serve(handler)
	return s
}

func (s *server) serve(handler http.Handler) {
	h := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	s.wg.Go(func() { _ = h.Serve(s) }) // until it is closed
}

// Addr implements net.Listener.
func (s *server) Addr() net.Addr { return s.listener.Addr() }

// Close implements net.Listener.
func (s *server) Close() error { return s.listener.Close() }

func (s *server) address() string { return s.listener.Addr().String() }

func (s *server) url() string { return "http://" + s.address() }

// waitAsked waits until somebody came.
func (s *server) waitAsked(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-s.asked:
	case <-ctx.Done():
		t.Fatalf("nobody asked %s", s.address())
	}
}

func (s *server) wasAsked() bool {
	select {
	case <-s.asked:
		return true
	default:
		return false
	}
}

// text is what the server has heard.
func (s *server) text() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.heard.Bytes())
}

// Accept implements net.Listener.
func (s *server) Accept() (net.Conn, error) {
	conn, err := s.listener.Accept()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	c := &overheard{conn, s}
	s.conns[c] = true
	s.first.Do(func() { close(s.asked) })
	return c, nil
}

func (s *server) close() {
	_ = s.listener.Close() // it may have been closed by who served on it
	s.mu.Lock()
	open := s.conns
	s.conns = nil
	s.mu.Unlock()
	for conn := range open {
		_ = conn.Close()
	}
	s.wg.Wait()
}

// overheard is a connection whose server keeps what it reads.
type overheard struct {
	net.Conn
	server *server
}

func (o *overheard) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	o.server.heard.Write(b[:min(n, mostHeard-o.server.heard.Len())])
	return n, err
}

func (o *overheard) Close() error {
	o.server.mu.Lock()
	delete(o.server.conns, o)
	o.server.mu.Unlock()
	return o.Conn.Close()
}

// flood answers the first request with a beginning and then the same block
// until nobody reads any more, or bytes were sent.
func flood(start, block string, total int64) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 64<<10)); err != nil {
			return
		}
		_, err := conn.Write([]byte(start))
		many := bytes.Repeat([]byte(block), max(1, (256<<10)/len(block)))
		for sent := int64(0); err == nil && sent < total; sent += int64(len(many)) {
			_, err = conn.Write(many)
		}
		// Whoever still waits is kept waiting.
		for err == nil {
			_, err = conn.Read(make([]byte, 64<<10))
		}
	}
}

// gib is more than any process here may have.
const gib = 1200 << 20

// startMetadata starts what gives identities away in a cloud to whoever asks.
func startMetadata() (*server, error) {
	const address = "169.254.169.254"
	if err := addAddress(address); err != nil {
		return nil, err
	}
	s, err := startServer(net.JoinHostPort(address, "80"))
	if err != nil {
		return nil, err
	}
	s.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"value": 7, "access_token": "` + marked + `-metadata", "token_type": "Bearer", "expires_in": 3600}`)) // who hung up needs none
	}))
	return s, nil
}

// addAddress gives this network another address.
func addAddress(address string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(address).To4(), Mask: net.CIDRMask(32, 32)}})
}
