// Package lending decides to whom a family lends its own identity: the one that
// a cloud, or the cluster, gave to its ServiceAccount or node. Objects of
// tenants choose the addresses, so what proves the identity goes only to hosts
// of the service that it is meant for, and to those that the family was started
// with, and only for objects of namespaces that may use it.
package lending

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Flags of a family, as messages name them.
const (
	HostsFlag      = "--identity-hosts"
	NamespacesFlag = "--identity-namespaces"
)

// Host is an entry of --identity-hosts.
type Host struct {
	pattern  string // a host, or "*." and what hosts end with
	audience string // what tokens for it may be for, or ""
}

// ParseHosts reads hosts, or *.suffix, separated by commas, each with
// "=<audience>" where triggers choose what the token is for.
func ParseHosts(text string) ([]Host, error) {
	var hosts []Host
	for entry := range strings.SplitSeq(text, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		pattern, audience, _ := strings.Cut(entry, "=")
		pattern = canonical(pattern)
		if !isHost(strings.TrimPrefix(pattern, "*.")) {
			return nil, fmt.Errorf("%q is neither a host nor *.<suffix>", entry)
		}
		hosts = append(hosts, Host{pattern, audience})
	}
	return hosts, nil
}

func isHost(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || len(validation.IsDNS1123Subdomain(text)) == 0
}

// ParseNamespaces reads names separated by commas. None at all is an empty
// list, which is not nil.
func ParseNamespaces(text string) ([]string, error) {
	namespaces := []string{}
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if len(validation.IsDNS1123Label(name)) > 0 {
			return nil, fmt.Errorf("%q is not a namespace", name)
		}
		namespaces = append(namespaces, name)
	}
	return namespaces, nil
}

var (
	trusted    atomic.Pointer[[]Host]
	namespaces atomic.Pointer[[]string]
)

// SetHosts lists the hosts beside those of the clouds.
func SetHosts(hosts []Host) { trusted.Store(&hosts) }

// SetNamespaces lists whose objects may use the identity; nil for everybody's.
func SetNamespaces(names []string) {
	if names == nil {
		namespaces.Store(nil)
		return
	}
	namespaces.Store(&names)
}

// CheckNamespace refuses objects of namespaces that may not use the identity.
func CheckNamespace(namespace string) error {
	if names := namespaces.Load(); names != nil && !slices.Contains(*names, namespace) {
		return words.Errorf(codes.PermissionDenied, "namespace %s may not use this family's own identity: its flag %s does not name it", namespace, NamespacesFlag)
	}
	return nil
}

// Check refuses to send the identity to a host, without a port, that a
// parameter names. Under the name of a host of a cloud anybody may answer unless
// the connection is verified; who listed a host has said that it is good enough.
func (s Service) Check(parameter, host string, verified bool) error {
	switch {
	case s.trusts(host):
		return nil
	case !s.Owns(host):
		return words.Errorf(codes.InvalidArgument, "%s: host %q is no host of %s and gets nothing of this family's own identity (its flag %s makes exceptions)",
			parameter, host, s, HostsFlag)
	case !verified:
		return words.Errorf(codes.InvalidArgument, "%s: host %q gets nothing of this family's own identity without TLS and a valid certificate (its flag %s makes exceptions)",
			parameter, host, HostsFlag)
	}
	return nil
}

// CheckURL is Check for the host of a URL; verified says whether certificates
// are looked at where it is of https.
func (s Service) CheckURL(parameter string, u *url.URL, verified bool) error {
	return s.Check(parameter, u.Hostname(), verified && u.Scheme == "https")
}

// Loan is leave to send tokens to hosts that were checked. Who obtains tokens of
// the family's own identity asks for one, so that nobody forgets to check.
type Loan struct{ scope string }

// Scope is what the tokens are for.
func (l Loan) Scope() string { return l.scope }

// Lend is leave to send tokens of the service to hosts that Check accepts.
func (s Service) Lend(parameter string, verified bool, hosts ...string) (Loan, error) {
	for _, host := range hosts {
		if err := s.Check(parameter, host, verified); err != nil {
			return Loan{}, err
		}
	}
	return Loan{s.Scope()}, nil
}

// LendNamed is leave to send a host tokens for the audience that it names itself:
// one of the service's hosts. For another it is LendFor.
func (s Service) LendNamed(parameter string, verified bool, host, audience string) (Loan, error) {
	if u, err := url.Parse(audience); err != nil || u.Scheme != "https" || !s.Owns(u.Hostname()) {
		return s.LendFor(parameter, host, parameter, audience)
	}
	if err := s.Check(parameter, host, verified); err != nil {
		return Loan{}, err
	}
	return Loan{strings.TrimSuffix(audience, "/") + "/.default"}, nil
}

// LendFor is leave to send a host tokens for an audience that a trigger names,
// in audienceParameter: when the family was started with both, as one entry, or
// as an entry of the host and one of the host that the audience is a URL of.
func (s Service) LendFor(parameter, host, audienceParameter, audience string) (Loan, error) {
	scope := strings.TrimSuffix(audience, "/") + "/.default" // in the way of Entra
	if !Listed(host) {
		return Loan{}, words.Errorf(codes.InvalidArgument, "%s: host %q is no host of %s and gets nothing of this family's own identity for an audience that others choose (its flag %s makes exceptions)",
			parameter, host, s, HostsFlag)
	}
	if u, err := url.Parse(audience); err == nil && u.Scheme == "https" && Listed(u.Hostname()) {
		return Loan{scope}, nil
	}
	if slices.ContainsFunc(hosts(), func(h Host) bool { return h.audience != "" && h.audience == audience && matches(h.pattern, host) }) {
		return Loan{scope}, nil
	}
	return Loan{}, words.Errorf(codes.InvalidArgument, "%s: host %q gets no token of this family's own identity for that audience: its flag %s names neither <host>=<audience> nor the audience's host",
		audienceParameter, host, HostsFlag)
}

// trusts reports whether the family was started with the host for this service.
func (s Service) trusts(host string) bool {
	if known[s].proof {
		return ListedForProof(host)
	}
	return Listed(host)
}

// ListedForProof reports whether the family was started with this very host, and
// for no audience. What proves the identity itself is worth all of its tokens: who
// gets one of them, or lives in a domain of those who do, gets no proof.
func ListedForProof(host string) bool {
	return slices.ContainsFunc(hosts(), func(h Host) bool { return h.audience == "" && h.pattern == canonical(host) })
}

// Listed reports whether the family was started with this host.
func Listed(host string) bool {
	return slices.ContainsFunc(hosts(), func(h Host) bool { return matches(h.pattern, host) })
}

func hosts() []Host {
	if all := trusted.Load(); all != nil {
		return *all
	}
	return nil
}

// Guard returns the client with requests refused to where Check refuses them,
// whoever follows them there. parameter is what leads to the host. The client
// verifies certificates.
func (s Service) Guard(client *http.Client, parameter string) *http.Client {
	guarded := *client
	guarded.Transport = guard{client.Transport, s, parameter}
	return &guarded
}

type guard struct {
	base      http.RoundTripper
	service   Service
	parameter string
}

// RoundTrip implements http.RoundTripper.
func (g guard) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := g.service.CheckURL(g.parameter, request.URL, true); err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, err
	}
	return g.base.RoundTrip(request)
}

// canonical spells a host in one way. The zone behind an address is no part of
// it: any text may stand there, such as ".vault.azure.net".
func canonical(host string) string {
	host, _, _ = strings.Cut(host, "%")
	return strings.TrimSuffix(strings.ToLower(strings.TrimSpace(host)), ".")
}

// matches reports whether a host is the pattern's. "*." stands for one label or
// more; an address has none.
func matches(pattern, host string) bool {
	host = canonical(host)
	suffix, below := strings.CutPrefix(pattern, "*")
	if !below {
		return host == pattern
	}
	return len(host) > len(suffix) && strings.HasSuffix(host, suffix) && isHost(host)
}
