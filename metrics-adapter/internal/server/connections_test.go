package server

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/spf13/pflag"
	genericserver "k8s.io/apiserver/pkg/server"
	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"

	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/identity"
)

// The API server's library reads a header of 1 MiB of whoever connects. So many
// connections of one address are open, and the next is closed.
func TestConnectionsAreBounded(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := &basecmd.AdapterBase{Name: "test", FlagSet: pflag.NewFlagSet("test", pflag.ContinueOnError)}
	if _, err := parse(base, nil, func(name string) string { return map[string]string{"POD_NAMESPACE": "a"}[name] }); err != nil {
		t.Fatal(err)
	}
	serving := &genericserver.SecureServingInfo{Listener: listener}
	secure(serving, base, &federation.Keys{}, identity.Policy{})
	accepted := make(chan net.Conn, 2*mostConnectionsOfOne)
	go func() {
		defer close(accepted)
		for {
			c, err := serving.Listener.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	defer func() {
		serving.Listener.Close()
		for c := range accepted {
			c.Close()
		}
	}()
	var last net.Conn
	for range mostConnectionsOfOne + 1 {
		if last, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer last.Close()
	}
	if err := last.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := last.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("connection %d of an address is open: %v", mostConnectionsOfOne+1, err)
	}
}
