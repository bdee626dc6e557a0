package server

import (
	"bytes"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/authority"
)

type told int

func (n *told) Enqueue() { *n++ }

// TestServingCertificate follows a key that comes late and is replaced later.
func TestServingCertificate(t *testing.T) {
	signer, err := authority.New("sluice-system", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	sign := func() (certificate, key []byte) {
		t.Helper()
		certificate, key, err := signer.Sign(authority.Request{Identity: identity.MetricsAdapter, Installation: "sluice-system", Lifetime: time.Hour}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return certificate, key
	}
	own, ownKey := sign()
	meanwhile, err := dynamiccertificates.NewStaticCertKeyContent("own", own, ownKey)
	if err != nil {
		t.Fatal(err)
	}
	keys, news := &identity.Holder{}, told(0)
	serving := &servingCertificate{keys: keys, meanwhile: meanwhile}
	serving.AddListener(&news)
	shows := func(what string, wantCertificate, wantKey []byte, changes told) {
		t.Helper()
		certificate, key := serving.CurrentCertKeyContent()
		if !bytes.Equal(certificate, wantCertificate) || !bytes.Equal(key, wantKey) || news != changes {
			t.Errorf("%s: another certificate, or %d changes", what, news)
		}
	}
	shows("before there is a key", own, ownKey, 0)
	for n := range told(2) {
		certificate, key := sign()
		parsed, err := identity.Parse(map[string][]byte{
			identity.CertificateKey: certificate, identity.PrivateKeyKey: key, identity.AuthoritiesKey: authority.Encode(signer.Certificate),
		}, identity.MetricsAdapter.In("sluice-system"))
		if err != nil {
			t.Fatal(err)
		}
		keys.Set(parsed)
		shows("with a key", certificate, key, n+1)
		keys.Set(parsed)
		shows("told again", certificate, key, n+1)
	}
}
