package outcome

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
)

// Parameters are the names under which a user gave what TLS is made of, as the
// words of a failed handshake point to them. Without a name they point nowhere.
type Parameters struct{ Authority, Certificate string }

// remoteAlert is what crypto/tls calls the other side's refusal to go on.
const remoteAlert = "remote error"

// Network says what the failure of a connection means: its code and its words.
// It is false for every other error, such as a server's answer.
func Network(err error, given Parameters) (codes.Code, string, bool) {
	var untrusted *tls.CertificateVerificationError
	var timeout net.Error
	var operation *net.OpError
	var name *net.DNSError
	switch {
	case errors.Is(err, context.Canceled):
		return codes.Canceled, "cancelled", true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return codes.DeadlineExceeded, "no answer in time", true
	case errors.As(err, &untrusted):
		return codes.Unavailable, distrust(untrusted.Err, given.Authority), true
	case errors.As(err, &operation) && operation.Op == remoteAlert: // most often about the certificate
		text := "refused the TLS connection: " + strings.TrimPrefix(operation.Err.Error(), "tls: ")
		return codes.Unauthenticated, pointing(text, given.Certificate), true
	case errors.As(err, &name):
		return codes.Unavailable, name.Error(), true
	case errors.As(err, &operation):
		return codes.Unavailable, operation.Error(), true // host, port and reason
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return codes.Unavailable, "the connection was lost", true
	default:
		return codes.OK, "", false
	}
}

// longestText bounds what is told of a certificate, in bytes.
const longestText = 500

// distrust says why a server's certificate was not accepted.
func distrust(err error, parameter string) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return pointing("the certificate of the server is signed by an unknown authority", parameter)
	}
	text := err.Error() // which names the certificate's hosts, however many they are
	return strings.ToValidUTF8(text[:min(len(text), longestText)], "")
}

func pointing(text, parameter string) string {
	if parameter == "" {
		return text
	}
	return text + ", see " + parameter
}
