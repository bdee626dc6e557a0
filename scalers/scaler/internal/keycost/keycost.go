// Package keycost bounds what keys and certificates cost that a tenant gives.
// Go takes a client's own key, and the authorities that a client trusts, to be
// chosen by who runs the process: it takes minutes to look at a number of some
// ten thousand bits, and nothing ends that.
package keycost

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"strings"
)

const (
	// mostBits are those of a number in an RSA key, as crypto/tls has it for keys
	// of servers.
	mostBits = 8192
	// longest is a private key of that size and some more, in bytes.
	longest = 6 << 10
	// cheap is a key of 4096 bits.
	cheap = 3 << 10
	// longestEncrypted is the same for one whose numbers are not seen before it
	// is understood.
	longestEncrypted = 5 << 10
	// deepest is how deep structures are in a key.
	deepest = 8
)

// ErrLong is about a key that nobody needs.
var ErrLong = fmt.Errorf("is longer than an RSA key of %d bits", mostBits)

// Pair is tls.X509KeyPair for a key that a tenant gives.
func Pair(certificate, key []byte) (tls.Certificate, error) {
	if err := CheckPrivate(key); err != nil {
		return tls.Certificate{}, fmt.Errorf("the key %w", err)
	}
	if block, _ := pem.Decode(key); block != nil && len(block.Bytes) > cheap {
		oneAtATime.Lock()
		defer oneAtATime.Unlock()
	}
	return tls.X509KeyPair(certificate, key)
}

// CheckPrivate refuses a private key, in PEM or DER, that takes long to look at.
// What is no key at all passes.
func CheckPrivate(text []byte) error {
	block, rest := pem.Decode(text)
	if block == nil {
		return checkKey(text)
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if err := checkKey(block.Bytes); err != nil {
			return err
		}
	}
	return nil
}

func checkKey(der []byte) error {
	if len(der) > longest || hasLongNumber(der, deepest) {
		return ErrLong
	}
	return nil
}

// hasLongNumber looks for one in a sequence and in what it holds: a key of
// PKCS#8 has that of PKCS#1 in a string of bytes.
func hasLongNumber(der []byte, depth int) bool {
	var parts []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &parts); err != nil || depth == 0 {
		return err == nil
	}
	for _, part := range parts {
		inner := part.FullBytes
		switch {
		case part.Class != asn1.ClassUniversal:
			continue
		case part.Tag == asn1.TagInteger && len(part.Bytes) > mostBits/8+1:
			return true
		case part.Tag == asn1.TagOctetString:
			inner = part.Bytes
		}
		if hasLongNumber(inner, depth-1) {
			return true
		}
	}
	return false
}

// CheckAuthorities refuses a bundle in PEM with a certificate whose key makes
// what it has signed long to look at.
func CheckAuthorities(bundle []byte) error {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue // nobody will trust it
		}
		if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > mostBits {
			return fmt.Errorf("has an RSA key of more than %d bits", mostBits)
		}
	}
	return nil
}
