package localcluster

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestNoCutIsLeft ends a network with two cuts in it, one of them healed.
func TestNoCutIsLeft(t *testing.T) {
	n, err := newNetwork()
	must(t, err)
	here := n.address()
	want := func(count int) {
		t.Helper()
		rules, err := netlink.RuleList(netlink.FAMILY_V4)
		must(t, err)
		have := 0
		for _, rule := range rules {
			if rule.Src != nil && rule.Src.IP.Equal(here.AsSlice()) || rule.Dst != nil && rule.Dst.IP.Equal(here.AsSlice()) {
				have++
			}
		}
		if have != count {
			t.Errorf("%d rules, want %d: %v", have, count, rules)
		}
	}
	heal, err := n.cutBetween(netip.AddrPortFrom(here, 1), netip.AddrPortFrom(here.Next(), 0))
	must(t, err)
	_, err = n.cutBetween(netip.AddrPortFrom(here, 0), netip.AddrPortFrom(here.Next(), 2))
	must(t, err)
	want(4)
	must(t, heal())
	want(2)
	must(t, n.close())
	want(0)
	must(t, heal()) // a test's own cleanup may come late
}
