package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/authority"
)

// Keys of the data of the authority's Secret, beside those of every key.
const (
	nextCertificateKey = "next.crt"
	nextPrivateKeyKey  = "next.key"
)

// authorities are those of an installation. A new one is trusted by everybody
// for a while before it signs, and the old one for a while after it signed
// last: at no time do two processes meet of which one trusts what the other
// does not have.
type authorities struct {
	signer *authority.Authority
	// next is trusted and does not sign yet; nil most of the time.
	next *authority.Authority
	// old ones are trusted as long as something that they signed may be in use.
	old []*x509.Certificate
}

// readAuthorities reads the authority's Secret; an empty one has none.
func readAuthorities(data map[string][]byte) (a authorities, err error) {
	if len(data[identity.CertificateKey]) == 0 {
		return a, nil
	}
	if a.signer, err = authority.Load(data[identity.CertificateKey], data[identity.PrivateKeyKey]); err != nil {
		return a, fmt.Errorf("%s and %s: %w", identity.CertificateKey, identity.PrivateKeyKey, err)
	}
	if len(data[nextCertificateKey]) > 0 {
		if a.next, err = authority.Load(data[nextCertificateKey], data[nextPrivateKeyKey]); err != nil {
			return a, fmt.Errorf("%s and %s: %w", nextCertificateKey, nextPrivateKeyKey, err)
		}
	}
	trusted, err := decode(data[identity.AuthoritiesKey])
	if err != nil {
		return a, fmt.Errorf("%s: %w", identity.AuthoritiesKey, err)
	}
	for _, c := range trusted {
		if !c.Equal(a.signer.Certificate) && (a.next == nil || !c.Equal(a.next.Certificate)) {
			a.old = append(a.old, c)
		}
	}
	return a, nil
}

func decode(bundle []byte) (certificates []*x509.Certificate, err error) {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certificates = append(certificates, c)
	}
	return certificates, nil
}

// write puts the authorities into the data of their Secret and reports whether
// that changed it.
func (a authorities) write(data map[string][]byte) (changed bool, err error) {
	written := map[string][]byte{identity.AuthoritiesKey: a.bundle()}
	if written[identity.CertificateKey], written[identity.PrivateKeyKey], err = a.signer.PEM(); err != nil {
		return false, err
	}
	if a.next != nil {
		if written[nextCertificateKey], written[nextPrivateKeyKey], err = a.next.PEM(); err != nil {
			return false, err
		}
	}
	for _, key := range []string{
		identity.CertificateKey, identity.PrivateKeyKey, identity.AuthoritiesKey, nextCertificateKey, nextPrivateKeyKey,
	} {
		if !bytes.Equal(data[key], written[key]) {
			changed = true
			data[key] = written[key]
		}
		if written[key] == nil {
			delete(data, key)
		}
	}
	return changed, nil
}

// bundle is PEM of all that is to be trusted.
func (a authorities) bundle() []byte {
	all := []*x509.Certificate{a.signer.Certificate}
	if a.next != nil {
		all = append(all, a.next.Certificate)
	}
	return authority.Encode(append(all, a.old...)...)
}

// Terms are how long things last.
type Terms struct {
	// Authority and Certificate are the lifetimes; each is renewed when a
	// third of it is left.
	Authority, Certificate time.Duration
	// Overlap is how long a new authority is trusted before it signs, and the
	// old one afterwards.
	Overlap time.Duration
}

// advance makes what is missing at the present time and takes what is due.
// rotate asks for a new authority before its time.
func (a *authorities) advance(installation string, now time.Time, t Terms, rotate bool) (err error) {
	if a.signer == nil || !now.Before(a.signer.Certificate.NotAfter) {
		// Nothing that was signed before is valid any more.
		if a.signer, a.next = a.next, nil; a.signer == nil || !now.Before(a.signer.Certificate.NotAfter) {
			a.signer, err = authority.New(installation, now, t.Authority)
		}
		return err
	}
	if a.next == nil && (rotate || late(a.signer.Certificate, now)) {
		a.next, err = authority.New(installation, now, t.Authority)
		return err
	}
	if a.next != nil && !now.Before(a.next.Created().Add(t.Overlap)) {
		a.old = append(a.old, a.signer.Certificate)
		a.signer, a.next = a.next, nil
	}
	return nil
}

// retire drops the authorities that nothing in use was signed by: all keys
// have been signed by the present one, for the time of an overlap.
func (a *authorities) retire(now time.Time, t Terms) {
	over := !now.Before(a.signer.Created().Add(2 * t.Overlap))
	a.old = slices.DeleteFunc(a.old, func(c *x509.Certificate) bool { return over || !now.Before(c.NotAfter) })
}

// due is when something is to be done next, the zero time for no plans.
func (a authorities) due(t Terms) time.Time {
	switch {
	case a.next != nil:
		return a.next.Created().Add(t.Overlap)
	case len(a.old) > 0:
		return a.signer.Created().Add(2 * t.Overlap)
	}
	return time.Time{}
}

// late reports whether less than a third of a certificate's life is left.
func late(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) < c.NotAfter.Sub(c.NotBefore)/3
}
