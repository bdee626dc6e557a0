package contract

import (
	"path"
	"strings"
)

// AllowedHosts is the annotation of an authentication object that lists the
// hosts which its credentials may be sent to.
const AllowedHosts = "sluice.dev/allowed-hosts"

// Matches reports whether a name is one of the patterns, regardless of case and
// of the dot behind an absolute name.
func Matches(patterns []string, name string) bool {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	for _, pattern := range patterns {
		if ok, _ := path.Match(strings.ToLower(pattern), name); ok {
			return true
		}
	}
	return false
}
