package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// overLines has all sessions of config go through lines.
func overLines(config *mysql.Config, dial dialFunc) {
	outer := config.TLS
	if outer != nil {
		client.BoundServers(outer)
		config.TLS = withinProcess().client
	}
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l := opens(ctx, newLine(raw, address, &packets{}))
		if outer == nil {
			return asPolled(l), nil
		}
		return &relay{line: l, ctx: ctx, outer: outer}, nil
	}
}

// relay is a connection whose TLS is made in between: the driver makes TLS with
// this process, and what comes is looked at before it is encrypted for it. The
// driver itself finds out whether the server has TLS, and asks for it.
type relay struct {
	*line

	ctx   context.Context //nolint:containedctx // of the login, which this is a part of
	outer *tls.Config

	mu    sync.Mutex
	asked bool     // the driver has asked for TLS
	near  net.Conn // its end of what is encrypted within the process; nil before
}

// end is what the driver reads from and writes to.
func (r *relay) end() net.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.near != nil {
		return r.near
	}
	return r.line
}

// lengthOfSSLRequest is that of the packet by which a client asks for TLS: the
// beginning of its login, which is longer.
const lengthOfSSLRequest = 32

// Write implements net.Conn.
func (r *relay) Write(p []byte) (int, error) {
	if r.asked && r.near == nil {
		if err := r.encrypt(); err != nil {
			return 0, err
		}
	}
	end := r.end()
	if end == net.Conn(r.line) && len(p) == 4+lengthOfSSLRequest && p[0] == lengthOfSSLRequest {
		r.asked = true
	}
	return end.Write(p)
}

// encrypt makes TLS with the server, and is the server to the driver.
func (r *relay) encrypt() error {
	server := tls.Client(r.Conn, r.outer)
	if err := server.HandshakeContext(r.ctx); err != nil {
		return err
	}
	near, far := net.Pipe()
	driver := tls.Server(far, withinProcess().server)
	r.from = server
	r.mu.Lock()
	r.near = near
	r.mu.Unlock()
	go passOn(server, driver, r.Conn) // until either end is closed
	go passOn(driver, r.line, far)
	return nil
}

// passOn copies, and closes what that ends with.
func passOn(to io.Writer, from io.Reader, last io.Closer) {
	defer last.Close()
	_ = safely(func() error {
		_, err := io.Copy(to, from)
		return err
	})
}

// Read implements net.Conn.
func (r *relay) Read(p []byte) (int, error) {
	n, err := r.end().Read(p)
	return n, r.because(err)
}

// Close implements net.Conn.
func (r *relay) Close() error {
	r.end().Close()
	return r.Conn.Close()
}

// SetDeadline implements net.Conn.
func (r *relay) SetDeadline(t time.Time) error { return r.end().SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (r *relay) SetReadDeadline(t time.Time) error { return r.end().SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (r *relay) SetWriteDeadline(t time.Time) error { return r.end().SetWriteDeadline(t) }

// innerTLS are the two sides of TLS that does not leave the process.
type innerTLS struct{ client, server *tls.Config }

// withinProcess has a key that nobody else knows.
var withinProcess = sync.OnceValue(func() innerTLS {
	const name = "within-the-process"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // it has no error
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().AddDate(100, 0, 0), IsCA: true, BasicConstraintsValid: true}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err) // there is nothing that it depends on
	}
	roots := x509.NewCertPool()
	if leaf, err := x509.ParseCertificate(certificate); err == nil {
		roots.AddCert(leaf)
	}
	return innerTLS{
		client: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: name},
		server: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}},
	}
})
