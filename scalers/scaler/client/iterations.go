package client

import (
	"bytes"
	"strconv"
)

// MostIterations is how often a server may have a password hashed at a login.
// Servers keep to some thousands themselves; clients count to any number, or to
// many millions, deaf to their context.
const MostIterations = 100_000

// TooManyIterations reports whether what a server says in a login of SCRAM asks
// for more than MostIterations. No other login's messages have the attribute for
// iterations.
//
// Source: RFC 5802, section 5.1.
func TooManyIterations(said []byte) bool {
	for attribute := range bytes.SplitSeq(said, []byte(",")) {
		text, found := bytes.CutPrefix(attribute, []byte("i="))
		if !found {
			continue
		}
		if n, err := strconv.Atoi(string(text)); err == nil && n > MostIterations {
			return true
		}
	}
	return false
}
