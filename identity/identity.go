// Package identity says who is who inside an installation: the names in the
// certificates of its processes, the Secrets where their keys are, and how two
// processes prove to each other who they are. Every Go process of Sluice uses
// it; a scaler in another language needs its names alone.
package identity

import (
	"fmt"
	"regexp"
)

// Role is what a process is for.
type Role string

const (
	// Core processes call families: the controller and the metrics adapter.
	Core Role = "core"
	// Family processes serve triggers.
	Family Role = "scaler"
	// Other processes that a family may be told to serve, KEDA's operator for
	// example.
	Other Role = "client"
)

// Identity names a process of an installation, whatever the number of its
// replicas.
type Identity struct {
	Role Role
	Name string
}

// The identities of the core.
var (
	Controller     = Identity{Core, "controller"}
	MetricsAdapter = Identity{Core, "metrics-adapter"}
)

// Scaler is the identity of a family, "kafka" for example.
func Scaler(family string) Identity { return Identity{Family, family} }

// Client is the identity of a caller from outside the core.
func Client(name string) Identity { return Identity{Other, name} }

var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Check returns why the identity cannot stand in a certificate: its name must
// be a DNS label.
func (i Identity) Check() error {
	if !label.MatchString(i.Name) {
		return fmt.Errorf("%q cannot be the name of a %s: lower-case letters, digits and '-' are allowed, 63 at most", i.Name, i.Role)
	}
	return nil
}

// In is the DNS name that stands for the identity in its certificate:
// "kafka.scaler.sluice-system". An installation is named after the namespace
// of its core. Nobody resolves these names.
func (i Identity) In(installation string) string {
	return i.Name + "." + string(i.Role) + "." + installation
}

// Secret is the name of the Secret with the key, in the installation's
// namespace: "scaler-kafka-tls", "controller-tls".
func (i Identity) Secret() string {
	if i.Role == Core {
		return i.Name + "-tls"
	}
	return string(i.Role) + "-" + i.Name + "-tls"
}

// Keys of the data of such a Secret, the same as cert-manager's.
const (
	CertificateKey = "tls.crt" // PEM: the process's certificate, then intermediate ones
	PrivateKeyKey  = "tls.key" // PEM
	AuthoritiesKey = "ca.crt"  // PEM: the authorities to trust, one or more
)
