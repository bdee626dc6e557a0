package keycost

import (
	"crypto/tls"
	"crypto/x509"
	"reflect"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

const (
	// longestChain is that of the certificates of a server, in bytes, with what
	// it adds to them about their validity.
	longestChain = 24 << 10
	// mostParsed is how much memory may be made of them. They are kept for as
	// long as the connection, and five bytes of a name become a hundred and more.
	mostParsed = 64 << 10
)

// ErrChain is about certificates of a server that nobody needs.
var ErrChain = words.Plain(codes.Unavailable, "the certificates of the server are longer, or have more names, than they may")

// BoundServers has config refuse servers whose certificates would take much
// memory. Those that the process itself trusts have none: this is for servers
// whose authorities, or lack of them, a tenant chooses.
func BoundServers(config *tls.Config) {
	before := config.VerifyConnection
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if err := checkChain(s); err != nil {
			return err
		}
		if before != nil {
			return before(s)
		}
		return nil
	}
}

func checkChain(s tls.ConnectionState) error {
	length, parsed := len(s.OCSPResponse), 0
	for _, timestamp := range s.SignedCertificateTimestamps {
		length += len(timestamp)
		parsed += int(reflect.TypeOf(timestamp).Size())
	}
	for _, one := range s.PeerCertificates {
		length += len(one.Raw)
		parsed += sizeOf(reflect.ValueOf(one).Elem())
	}
	if length > longestChain || parsed > mostParsed {
		return ErrChain
	}
	return nil
}

// publicKey is bounded by its length, and leads to what all keys share.
var publicKey, _ = reflect.TypeFor[x509.Certificate]().FieldByName("PublicKey")

// sizeOf is what the lists, texts and structures of a certificate take, beside
// bytes: those are a part of what was sent.
func sizeOf(v reflect.Value) (bytes int) {
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() || v.Kind() == reflect.Pointer && v.Type().Elem().PkgPath() == "time" {
			return 0
		}
		return int(v.Elem().Type().Size()) + sizeOf(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return 0
		}
		bytes = v.Cap() * int(v.Type().Elem().Size())
		for i := range v.Len() {
			bytes += sizeOf(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type() == reflect.TypeFor[x509.Certificate]() && i == publicKey.Index[0] {
				continue
			}
			bytes += sizeOf(v.Field(i))
		}
	}
	return bytes
}
