package contract

import (
	"net/netip"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AllowedHosts is the annotation of a ClusterTriggerAuthentication with the hosts
// that its credentials may be sent to: a list joined by commas, whose entries may
// have "*" for any text without a "/". Absent means no limit, as in KEDA.
const AllowedHosts = "sluice.dev/allowed-hosts"

// Matches reports whether a name is one of the patterns, regardless of case, of
// the dot behind an absolute name, and of the zone of an address. What is neither
// a name nor an address, such as two names joined by a colon, matches nothing:
// somebody else may take another part of it for the host.
func Matches(patterns []string, name string) bool {
	if !IsHost(name) {
		return false
	}
	name, _, _ = strings.Cut(name, "%")
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	for _, pattern := range patterns {
		if ok, _ := path.Match(strings.ToLower(pattern), name); ok {
			return true
		}
	}
	return false
}

// IsHost reports whether a text can be the name of a host, or is an address: one
// of version 6 may have a zone, which is any text.
func IsHost(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
	})
}
