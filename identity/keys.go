package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Keys are what one process proves its identity with, and whom it believes.
type Keys struct {
	Certificate tls.Certificate // with Leaf
	Authorities *x509.CertPool
	// PEM of the same, as the Secret has it.
	CertificatePEM, PrivateKeyPEM, AuthoritiesPEM []byte
}

// Parse reads the data of a Secret. name is the DNS name that the certificate
// must be for. An error tells what is wrong with which key of the Secret, and
// nothing of its value.
func Parse(data map[string][]byte, name string) (*Keys, error) {
	k := &Keys{
		CertificatePEM: data[CertificateKey], PrivateKeyPEM: data[PrivateKeyKey], AuthoritiesPEM: data[AuthoritiesKey],
		Authorities: x509.NewCertPool(),
	}
	var err error
	// The texts of crypto/tls name what is wrong with a block and never quote it.
	if k.Certificate, err = tls.X509KeyPair(k.CertificatePEM, k.PrivateKeyPEM); err != nil {
		return nil, fmt.Errorf("%s and %s: %s", CertificateKey, PrivateKeyKey, strings.TrimPrefix(err.Error(), "tls: "))
	}
	if err := k.Certificate.Leaf.VerifyHostname(name); err != nil {
		return nil, fmt.Errorf("%s: is for %s, not for %s", CertificateKey, strings.Join(k.Certificate.Leaf.DNSNames, ", "), name)
	}
	if !k.Authorities.AppendCertsFromPEM(k.AuthoritiesPEM) {
		return nil, fmt.Errorf("%s: holds no PEM certificate", AuthoritiesKey)
	}
	return k, nil
}

func (k *Keys) equal(other *Keys) bool {
	return other != nil && bytes.Equal(k.CertificatePEM, other.CertificatePEM) &&
		bytes.Equal(k.PrivateKeyPEM, other.PrivateKeyPEM) && bytes.Equal(k.AuthoritiesPEM, other.AuthoritiesPEM)
}

// ErrNoKeys is the reason while a process still waits for its keys.
var ErrNoKeys = errors.New("this process has no key yet")

// Holder has the current keys of a process. Connections made after a change use
// the new ones; those that stand go on. It may be used before there are any.
type Holder struct {
	mu        sync.Mutex
	keys      *Keys
	listeners []func()
}

// Set replaces the keys, and calls what waits for a change when they differ.
func (h *Holder) Set(k *Keys) (changed bool) {
	h.mu.Lock()
	if k.equal(h.keys) {
		h.mu.Unlock()
		return false
	}
	h.keys = k
	listeners := h.listeners
	h.mu.Unlock()
	for _, tell := range listeners {
		tell()
	}
	return true
}

// Keys returns the current keys, or ErrNoKeys.
func (h *Holder) Keys() (*Keys, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys == nil {
		return nil, ErrNoKeys
	}
	return h.keys, nil
}

// LifeLeft is which part of the life of this process's certificate is left: 1
// when it begins, 0 from its end on. It is not known while there is none.
func (h *Holder) LifeLeft(now time.Time) (part float64, known bool) {
	k, err := h.Keys()
	if err != nil {
		return 0, false
	}
	leaf := k.Certificate.Leaf
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	if life <= 0 {
		return 0, true
	}
	return min(1, max(0, leaf.NotAfter.Sub(now).Seconds()/life.Seconds())), true
}

// OnChange has changed called after every change from now on. It must not
// block.
func (h *Holder) OnChange(changed func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners = append(h.listeners, changed)
}

// GetCertificate is for the tls.Config of a server.
func (h *Holder) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k, err := h.Keys()
	if err != nil {
		return nil, err
	}
	return &k.Certificate, nil
}

// Watch follows one Secret: it calls deliver with the data as it is, if the
// Secret exists, and after each change, until ctx ends or the connection does.
// Its error says why it could not follow any longer.
type Watch func(ctx context.Context, deliver func(data map[string][]byte)) error

const (
	soonestRetry = 500 * time.Millisecond
	latestRetry  = 10 * time.Second
)

// Follow keeps the holder at what the Secret of an identity has, until ctx
// ends. An empty Secret is waited for; with one that makes no sense, or none
// any more, the last keys stay.
func (h *Holder) Follow(ctx context.Context, who Identity, installation string, log *slog.Logger, watch Watch) {
	log = log.With("secret", installation+"/"+who.Secret())
	name, said := who.In(installation), ""
	complain := func(text string) {
		if text != said && text != "" && ctx.Err() == nil {
			log.Error("cannot read this process's key", "error", text)
		}
		said = text
	}
	deliver := func(data map[string][]byte) {
		if len(data[CertificateKey]) == 0 {
			return
		}
		k, err := Parse(data, name)
		if err != nil {
			complain(err.Error())
			return
		}
		complain("")
		if h.Set(k) {
			log.Info("key in use", "identity", name, "expires", k.Certificate.Leaf.NotAfter)
		}
	}
	for pause := soonestRetry; ctx.Err() == nil; pause = min(2*pause, latestRetry) {
		began := time.Now()
		if err := watch(ctx, deliver); err != nil {
			complain(err.Error())
		}
		if time.Since(began) > latestRetry { // watches end by themselves every few minutes
			pause = soonestRetry
		}
		wait(ctx, pause)
	}
}

func wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
