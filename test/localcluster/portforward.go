package localcluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

const (
	// kubeletServer is the name of the certificate that the kubelet shows to the API
	// server, and kubeletClient of the one that the API server shows to it.
	kubeletServer, kubeletClient = "kubelet-server", "apiserver-kubelet-client"
	// forwardIdle and forwardCreation are a kubelet's own.
	forwardIdle     = 4 * time.Hour
	forwardCreation = 30 * time.Second
)

// forwarder is what of a kubelet the API server asks for ports of Pods: kubectl
// port-forward ends here, and goes on to the loopback device of the Pod.
type forwarder struct {
	kubelet *kubelet
	server  *http.Server
	port    int32

	mu    sync.Mutex
	conns map[net.Conn]bool // open ones, which outlive the server's requests; nil once closed
	work  sync.WaitGroup
}

// startForwarder listens on a port that the node tells the API server.
func startForwarder(ctx context.Context, k *kubelet) (*forwarder, error) {
	plane := k.cluster.plane
	certificate, err := tls.LoadX509KeyPair(plane.pki(kubeletServer+".crt"), plane.pki(kubeletServer+".key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(plane.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(k.cluster.Address(), "0"))
	if err != nil {
		return nil, err
	}
	f := &forwarder{kubelet: k, port: int32(listener.Addr().(*net.TCPAddr).Port), conns: map[net.Conn]bool{}}
	mux := http.NewServeMux()
	mux.Handle("/portForward/{namespace}/{pod}", f)
	mux.Handle("/portForward/{namespace}/{pod}/{uid}", f)
	f.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: forwardCreation,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // an upgrade is one of HTTP/1.1
	}
	secured := tls.NewListener(kept{listener, f}, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	f.work.Go(func() { _ = f.server.Serve(secured) }) // until close
	return f, nil
}

// ServeHTTP forwards ports of one Pod.
func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user := r.TLS.PeerCertificates[0].Subject.CommonName; user != kubeletClient {
		http.Error(w, "this is the API server's to ask", http.StatusForbidden)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	instance := f.kubelet.find(r.PathValue("namespace"), r.PathValue("pod"))
	if instance == nil {
		http.Error(w, "no such Pod runs here", http.StatusNotFound)
		return
	}
	if !f.begin() {
		return // it is being closed
	}
	defer f.work.Done()
	portforward.ServePortForward(w, r, forwarding{f, instance}, instance.Name(), string(instance.uid), options,
		forwardIdle, forwardCreation, portforward.SupportedProtocols)
}

// begin counts a request that close waits for, false once it does.
func (f *forwarder) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		return false
	}
	f.work.Add(1)
	return true
}

// forwarding is that to one instance.
type forwarding struct {
	*forwarder
	instance *Instance
}

// PortForward implements portforward.PortForwarder.
func (f forwarding) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	inside, err := f.instance.dialInside(ctx, strconv.Itoa(int(port)))
	if err != nil {
		return err
	}
	defer inside.Close()
	f.work.Go(func() { // ends with the stream
		_, _ = io.Copy(inside, stream) // how a connection ends is its users' affair
		if half, can := inside.(interface{ CloseWrite() error }); can {
			_ = half.CloseWrite()
		}
	})
	_, err = io.Copy(stream, inside)
	return err
}

// dialInside connects to a port of the Pod's loopback device, from within.
func (i *Instance) dialInside(ctx context.Context, port string) (net.Conn, error) {
	i.mu.Lock()
	box := i.box
	i.mu.Unlock()
	if box == nil {
		return nil, fmt.Errorf("%s has no network yet", i.Name())
	}
	return box.dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
}

// find returns a Pod that runs.
func (k *kubelet) find(namespace, name string) *Instance {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, instance := range k.instances {
		if instance.Namespace() == namespace && instance.Name() == name {
			return instance
		}
	}
	return nil
}

// close ends the server and all that is forwarded.
func (f *forwarder) close() error {
	err := f.server.Close()
	f.mu.Lock()
	conns := f.conns
	f.conns = nil
	f.mu.Unlock()
	for conn := range conns {
		if failed := conn.Close(); !errors.Is(failed, net.ErrClosed) {
			err = errors.Join(err, failed)
		}
	}
	f.work.Wait()
	return err
}

// kept notes which connections are open: a server forgets what is upgraded.
type kept struct {
	net.Listener
	by *forwarder
}

func (k kept) Accept() (net.Conn, error) {
	conn, err := k.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &keptConn{Conn: conn, by: k.by}
	k.by.mu.Lock()
	defer k.by.mu.Unlock()
	if k.by.conns == nil {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	k.by.conns[c] = true
	return c, nil
}

type keptConn struct {
	net.Conn
	by *forwarder
}

func (c *keptConn) Close() error {
	c.by.mu.Lock()
	delete(c.by.conns, c)
	c.by.mu.Unlock()
	return c.Conn.Close()
}
