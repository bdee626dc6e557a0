package contract

import (
	"net/netip"
	"path"
	"strings"
)

// AllowedHosts is the annotation of a ClusterTriggerAuthentication with the hosts
// that its credentials may be sent to: a list joined by commas, whose entries may
// have "*" for any text without a "/". Absent means no limit, as in KEDA.
const AllowedHosts = "sluice.dev/allowed-hosts"

// Matches reports whether a name is one of the patterns, regardless of case, of
// the dot behind an absolute name, and of the zone behind an address: any text
// may stand there, such as ".kafka.svc". What has a colon and is no address is two
// names, of which somebody else may take the other one.
func Matches(patterns []string, name string) bool {
	name, _, _ = strings.Cut(name, "%")
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if _, err := netip.ParseAddr(name); err != nil && strings.Contains(name, ":") {
		return false
	}
	for _, pattern := range patterns {
		if ok, _ := path.Match(strings.ToLower(pattern), name); ok {
			return true
		}
	}
	return false
}
