package identity

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// Policy is what a process asks of TLS at least. The zero value asks for TLS
// 1.3.
type Policy struct {
	MinVersion   uint16
	CipherSuites []uint16 // up to TLS 1.2; nil for Go's choice
}

var versions = map[string]uint16{
	"TLS10": tls.VersionTLS10,
	"TLS11": tls.VersionTLS11,
	"TLS12": tls.VersionTLS12,
	"TLS13": tls.VersionTLS13,
}

// ServingPolicy reads what the listeners of a process ask for:
// KEDA_SERVICE_MIN_TLS_VERSION, TLS 1.3 by default, and
// KEDA_SERVICE_TLS_CIPHER_LIST. KEDA falls back to the variables for outbound
// connections; here, a source that is behind weakens no listener.
func ServingPolicy(getenv func(string) string) (Policy, error) {
	return ReadPolicy(getenv, "KEDA_SERVICE", tls.VersionTLS13)
}

// ReadPolicy reads <prefix>_MIN_TLS_VERSION, otherwise unless it is set, and
// <prefix>_TLS_CIPHER_LIST. An error starts with the variable's name.
func ReadPolicy(getenv func(string) string, prefix string, otherwise uint16) (Policy, error) {
	p := Policy{MinVersion: otherwise}
	if text := getenv(prefix + "_MIN_TLS_VERSION"); text != "" {
		version, known := versions[text]
		if !known {
			return p, fmt.Errorf("%s_MIN_TLS_VERSION: %q is not one of TLS10, TLS11, TLS12, TLS13", prefix, text)
		}
		p.MinVersion = version
	}
	list := strings.FieldsFunc(getenv(prefix+"_TLS_CIPHER_LIST"), func(r rune) bool {
		return r == ':' || r == ',' || r == ' '
	})
	suites := slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
	for _, name := range list {
		i := slices.IndexFunc(suites, func(s *tls.CipherSuite) bool { return s.Name == name })
		if i < 0 {
			return p, fmt.Errorf("%s_TLS_CIPHER_LIST: %q is not a cipher suite", prefix, name)
		}
		p.CipherSuites = append(p.CipherSuites, suites[i].ID)
	}
	return p, nil
}

// Apply makes config ask for it.
func (p Policy) Apply(config *tls.Config) {
	config.MinVersion, config.CipherSuites = p.MinVersion, p.CipherSuites
	if config.MinVersion == 0 {
		config.MinVersion = tls.VersionTLS13
	}
}
