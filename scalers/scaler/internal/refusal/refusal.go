// Package refusal bounds how often credentials that many share are obtained afresh
// because somebody refused them: whoever does may be a tenant's own endpoint.
package refusal

import "time"

// Every is how often what is made anew for who asks, such as a token, is obtained
// afresh for refusals of it. It serves on meanwhile.
const Every = time.Minute

// Pace is that of one set of credentials. The zero value has had no refusal. Whoever
// keeps the credentials has a lock for it.
type Pace struct{ last time.Time }

// Due reports whether a refusal counts now, if one does every so often.
func (p *Pace) Due(now time.Time, every time.Duration) bool {
	return p.last.IsZero() || now.Sub(p.last) >= every
}

// Count notes that one counted.
func (p *Pace) Count(now time.Time) { p.last = now }
