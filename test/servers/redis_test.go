package servers_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestRedisAnswersAndRestarts(t *testing.T) {
	r := servers.Redis(t, servers.RedisOptions{Password: "secret"})
	if length, err := r.Do(within(t), "RPUSH", "work", "a", "b"); err != nil || length != "2" {
		t.Fatalf("RPUSH: %q, %v", length, err)
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Do(within(t), "PING"); err == nil {
		t.Error("a killed server answers")
	}
	if err := r.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	if length, err := r.Do(within(t), "LLEN", "work"); err != nil || length != "0" {
		t.Errorf("the list has %q entries after a power cut, %v; nothing is kept", length, err)
	}
}

func TestRedisStoppedAcceptsButDoesNotAnswer(t *testing.T) {
	r := servers.Redis(t)
	acceptsInSilence(t, r.Node, r.Addr(), "PING\r\n")
}

func TestRedisSpeaksTLSAlone(t *testing.T) {
	r := servers.Redis(t, servers.RedisOptions{TLS: true})
	config, err := r.Authority.ClientConfig("")
	if err != nil {
		t.Fatal(err)
	}
	dialer := &tls.Dialer{Config: config}
	conn, err := dialer.DialContext(within(t), "tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if answer, err := r.Do(within(t), "PING"); err != nil || answer != "PONG" {
		t.Errorf("PING over TLS: %q, %v", answer, err)
	}
}

func TestSentinelsElectANewMaster(t *testing.T) {
	s := servers.Sentinel(t)
	before, err := s.Master(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	ctx := within(t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		after, err := s.Master(ctx)
		if err == nil && after != before {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the master is still %s, %v", after, err)
		}
	}
}

func TestClusterHasThreeMasters(t *testing.T) {
	c := servers.Cluster(t)
	if len(c.Addrs()) != 3 {
		t.Errorf("masters at %v", c.Addrs())
	}
}

// acceptsInSilence proves that a stopped server takes connections and answers
// none of them.
func acceptsInSilence(t *testing.T, n *servers.Node, address, request string) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(within(t), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading the answer: %v, want silence", err)
	}
	if err := n.Continue(); err != nil {
		t.Error(err)
	}
}
