package pool

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// paidBy is the ctx of an Open for triggers of some namespaces.
func paidBy(p *Pool, namespaces ...string) (context.Context, *Lease) {
	l := p.Lease(nil, nil)
	l.payers = func() []string { return namespaces }
	return l.Context(context.Background()), l
}

func TestAllowance(t *testing.T) {
	p := New(Config{})
	a := NewAllowance("partitions", 10, 20)
	of := func(namespaces ...string) *Holding {
		ctx, _ := paidBy(p, namespaces...)
		return a.Of(ctx)
	}
	set := func(h *Holding, n int, want string) {
		t.Helper()
		err := h.Set(n)
		if want == "" && err != nil || want != "" && (status.Code(err) != codes.ResourceExhausted || err.Error() != want) {
			t.Errorf("%d: %v, want %q", n, err, want)
		}
	}
	const (
		ofShop = `the triggers of namespace "shop" would have this family hold more than 10 partitions`
		leaves = `the triggers of namespace "bank" would have this family hold more partitions than they leave to others`
	)
	first, second, other := of("shop"), of("shop"), of("bank")
	set(first, 8, "")
	set(second, 3, ofShop)
	set(second, 2, "")
	set(first, 9, ofShop) // and still has 8
	set(other, 6, leaves)
	set(other, 5, "")
	set(first, 3, "")
	set(other, 7, "")
	// Who shares with somebody that has nothing left is served nevertheless.
	set(other, 0, "")
	set(first, 8, "")
	both := of("shop", "bank")
	set(both, 5, "")
	set(first, 0, "")
	set(second, 0, "")
	set(both, 0, "")
	if a.total != 0 || len(a.taken) != 0 {
		t.Errorf("%d of %v are left", a.total, a.taken)
	}
}

// TestAFewNamespacesLeaveRoom: whoever has some namespaces takes so much of what there is
// in all that those who hold little have room, and hold what they have.
func TestAFewNamespacesLeaveRoom(t *testing.T) {
	const all = 320
	a := NewAllowance("bytes", all/2, all)
	mine := a.For("mine")
	if err := mine.Set(1); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		enemy := a.For(fmt.Sprint("mallory", i))
		for n := all / 2; n > all/32 && enemy.Set(n) != nil; n-- {
		}
	}
	for n := range all / 32 {
		if err := mine.Set(n + 1); err != nil {
			t.Errorf("what stands: %v", err)
		}
	}
	if err := a.For("new").Set(all / 32); err != nil {
		t.Errorf("a new one: %v", err)
	}
	if left := a.all - a.total; left < all/8 {
		t.Errorf("%d are left", left)
	}
	crowd := 0
	var err error
	for ; err == nil; crowd++ {
		err = a.For(fmt.Sprint("small", crowd)).Set(all / 32)
	}
	want := fmt.Sprintf("all triggers, those of namespace %q among them, would have this family hold more than 320 bytes", fmt.Sprint("small", crowd-1))
	if err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestANamespaceHasAShareOfConnections: one tenant with an endpoint for each
// trigger takes no more than a share, and nobody else's connection.
func TestANamespaceHasAShareOfConnections(t *testing.T) {
	p := New(Config{})
	p.memory.share = 2 * UsualCost
	connect := func(ctx context.Context, where string) error {
		_, err := Shared(ctx, where, func(ctx context.Context) (*conn, error) {
			_, err := Shared(ctx, where, func(context.Context) (*part, error) { return &part{}, nil })
			return &conn{}, err
		})
		return err
	}
	var leases []*Lease
	for n := range 2 {
		ctx, l := paidBy(p, "shop")
		leases = append(leases, l)
		for range 2 { // the same again is the same endpoint
			if err := connect(ctx, fmt.Sprint(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	shop, ofShop := paidBy(p, "shop")
	const want = `the triggers of namespace "shop" would have this family hold more than 131072 bytes of connections, see --connection-memory`
	if err := connect(shop, "third"); status.Code(err) != codes.ResourceExhausted || err.Error() != want {
		t.Errorf("the third: %v, want %q", err, want)
	}
	if err := connect(shop, "1"); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	ofShop.Release()
	bank, ofBank := paidBy(p, "bank")
	if err := connect(bank, "third"); err != nil {
		t.Errorf("another namespace: %v", err)
	}
	leases[0].Release()
	shop, again := paidBy(p, "shop")
	if err := connect(shop, "fourth"); err != nil {
		t.Errorf("there is room: %v", err)
	}
	for _, l := range []*Lease{leases[1], ofBank, again} {
		l.Release()
	}
	if p.memory.total != 0 || len(p.connections) != 0 {
		t.Errorf("%d bytes, %d connections are left", p.memory.total, len(p.connections))
	}
}

// part is a connection that is only a part of another.
type part struct{ conn }

func (*part) Part() {}

// TestFailedDialsGiveTheirMemoryBack to the namespace.
func TestFailedDialsGiveTheirMemoryBack(t *testing.T) {
	p := New(Config{})
	p.memory.share = UsualCost
	ctx, l := paidBy(p, "shop")
	defer l.Release()
	for range 3 {
		_, err := Shared(ctx, "down", func(context.Context) (*conn, error) { return nil, fmt.Errorf("down") })
		if err == nil || !strings.Contains(err.Error(), "down") {
			t.Errorf("error = %v", err)
		}
	}
}

// TestWhatWasMadeWayForIsKept: who gave way comes again before who asked, and does not
// take the room back.
func TestWhatWasMadeWayForIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAllowance("connections", 50, 100)
		holding := func(namespace string, n int) *Holding {
			h := a.For(namespace)
			h.giveUp = func() { _ = h.Set(0) }
			if err := h.Set(n); err != nil {
				t.Fatalf("%s: %v", namespace, err)
			}
			return h
		}
		for range 5 {
			holding("much", 4)
		}
		for i := range 11 {
			holding(fmt.Sprint("other", i), 5)
		}
		asks := a.For("little")
		if asks.Set(4) == nil {
			t.Fatal("there is room without anybody making way")
		}
		if a.For("much").Set(4) == nil {
			t.Error("who gave way has the room back")
		}
		if err := asks.Set(4); err != nil {
			t.Errorf("who was made way for: %v", err)
		}
		if err := a.For("tiny").Set(1); err != nil {
			t.Errorf("another one with little: %v", err)
		}
	})
}
