package v1alpha1

import "strings"

// Shorten cuts text to a number of bytes, and drops what is no UTF-8: the API
// server keeps nothing else, and what it keeps must compare equal to what was
// written.
func Shorten(text string, most int) string {
	const more = "…"
	if len(text) > most {
		text = text[:most-len(more)]
		return strings.ToValidUTF8(text, "") + more
	}
	return strings.ToValidUTF8(text, "")
}
