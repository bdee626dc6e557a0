package outbound

import (
	"net/url"
	"strings"
	"testing"
)

func TestBelongs(t *testing.T) {
	tests := map[string]bool{
		"http://a:80 http://a:80":   true,
		"https://a https://a":       true,
		"http://a:80 https://a:443": true,
		"https://a http://a":        false,
		"http://a http://b.a":       false,
		"http://b.a http://a":       false,
		"http://a:1 http://a:2":     false,
	}
	for pair, want := range tests {
		from, to, _ := strings.Cut(pair, " ")
		meant, _ := url.Parse(from)
		target, _ := url.Parse(to)
		if got := belongs(meant, target); got != want {
			t.Errorf("%s: %v, want %v", pair, got, want)
		}
	}
}
