// Package fingerprint tells secrets apart without keeping them.
package fingerprint

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
)

// fingerprintKey makes fingerprints worthless outside this process.
var fingerprintKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails, see crypto/rand
	return key
})

// Fingerprint is a short hash of secrets, fit for keys of Shared. It cannot be
// turned back and differs between processes.
func Of(secrets ...string) string {
	mac := hmac.New(sha256.New, fingerprintKey())
	for _, secret := range secrets {
		// The length keeps ("ab", "c") apart from ("a", "bc").
		fmt.Fprintf(mac, "%d:%s", len(secret), secret)
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
