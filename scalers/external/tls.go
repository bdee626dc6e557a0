package main

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// tlsParams is how the server is met. The authentication object's parameters
// are for the transport alone and never sent.
type tlsParams struct {
	// EnableTLS connects with TLS and the system's certificate authorities.
	EnableTLS bool `param:"enableTLS" default:"false"`
	// UnsafeSSL accepts any certificate of the server. It does not turn TLS on.
	UnsafeSSL bool `param:"unsafeSsl" default:"false"`
	// CACert is a PEM bundle of certificate authorities to trust beside the
	// system's. It turns TLS on.
	CACert string `param:"caCert" from:"auth"`
	// TLSClientCert is the PEM client certificate; it needs tlsClientKey and
	// turns TLS on.
	TLSClientCert string `param:"tlsClientCert" from:"auth"`
	// TLSClientKey is the PEM private key of tlsClientCert.
	TLSClientKey string `param:"tlsClientKey" from:"auth"`
	// TLSCertFile named a file of certificate authorities.
	TLSCertFile string `param:"tlsCertFile" removed:"put the certificates into parameter caCert of a TriggerAuthentication"`
}

// Validate checks that certificate and key come together where TLS is on.
func (p tlsParams) Validate() error {
	switch {
	case !p.wantsTLS():
		return nil
	case p.TLSClientCert != "" && p.TLSClientKey == "":
		return errors.New("tlsClientKey: is required with tlsClientCert")
	case p.TLSClientKey != "" && p.TLSClientCert == "":
		return errors.New("tlsClientCert: is required with tlsClientKey")
	}
	return nil
}

func (p tlsParams) wantsTLS() bool {
	return p.EnableTLS || p.CACert != "" || p.TLSClientCert != ""
}

// material is what the library knows by other names.
func (p tlsParams) material() client.TLSParams {
	return client.TLSParams{CA: p.CACert, Cert: p.TLSClientCert, Key: p.TLSClientKey}
}

// transport is plaintext unless something asks for TLS. Its error names the
// parameter at fault and holds nothing of its value.
func (p tlsParams) transport() (credentials.TransportCredentials, error) {
	if !p.wantsTLS() {
		return insecure.NewCredentials(), nil
	}
	config, err := p.material().Config(p.UnsafeSSL)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, ownNames(err))
	}
	return credentials.NewTLS(config), nil
}

// names are the library's words for our parameters.
var names = map[string]string{
	"ca": "caCert", "cert": "tlsClientCert", "key": "tlsClientKey", "keyPassword": "tlsClientKey",
	"cert and key": "tlsClientCert and tlsClientKey",
}

// ownNames is the text of the library's error with our parameters' names.
func ownNames(err error) string {
	key, reason, found := strings.Cut(err.Error(), ": ")
	switch own := names[key]; {
	case !found || own == "":
		return err.Error()
	case key == "keyPassword":
		return own + ": is encrypted; put it in without a password"
	default:
		return fmt.Sprintf("%s: %s", own, reason)
	}
}
