package server

import (
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/sluice-autoscaler/sluice/identity"
)

// servingCertificate is what the API server shows to its callers: the process's
// key, as it is at the moment. Until there is one it shows another, so that the
// process can be probed.
type servingCertificate struct {
	keys      *identity.Holder
	meanwhile dynamiccertificates.CertKeyContentProvider
}

// Name is for logs.
func (c *servingCertificate) Name() string { return "key of the installation" }

// CurrentCertKeyContent returns PEM of certificate and key.
func (c *servingCertificate) CurrentCertKeyContent() (certificate, key []byte) {
	k, err := c.keys.Keys()
	if err != nil {
		return c.meanwhile.CurrentCertKeyContent()
	}
	return k.CertificatePEM, k.PrivateKeyPEM
}

// AddListener has listener told of each change.
func (c *servingCertificate) AddListener(listener dynamiccertificates.Listener) {
	c.keys.OnChange(listener.Enqueue)
}
