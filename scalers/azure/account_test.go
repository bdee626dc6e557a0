package main

import "testing"

// TestAccountsAreOfServers: nobody has another account at one server by spelling its
// name otherwise, and what answers elsewhere has no say in the account of others.
func TestAccountsAreOfServers(t *testing.T) {
	const at = "https://shop.blob.core.windows.net"
	for base, same := range map[string]bool{
		at: true, at + "/": true, at + ":443": true, "https://Shop.Blob.core.windows.net": true, "https://shop.blob.core.windows.net./path": true,
		"http://shop.blob.core.windows.net": false, at + ":444": false, "http://shop.blob.core.windows.net:443": false,
		"https://shop.blob.core.windows.net.example": false, "https://shop.queue.core.windows.net": false, "https://example/shop.blob.core.windows.net": false,
	} {
		if got := askedAt(base) == askedAt(at); got != same {
			t.Errorf("%s: the account of %s: %v, want %v", base, at, got, same)
		}
	}
}
