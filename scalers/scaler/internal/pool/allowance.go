package pool

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Allowance bounds how many of something the sources of a process hold: things
// of which the source, or who made the trigger, decides how many there are. A
// namespace has a share of it, so that one tenant cannot take it from others; and of
// what there is in all no namespace has more than it leaves to others, and the last
// quarter is for those with a thirty-second of it. Who has more than twice of what
// another one asks for in vain makes way.
type Allowance struct {
	what string
	flag string // that changes the share, or ""

	mu    sync.Mutex
	share int // of one namespace
	all   int // of the process; 0 for any number
	taken map[string]int
	total int
	// givers are those that can be asked to give back what they hold, by who pays, and
	// leaving is what they were asked for.
	givers  map[string]map[*Holding]struct{}
	leaving int
	promise promise // to whom others made way last
}

// promise is what is kept free for a namespace that others make way for: they come
// again sooner than it does, and would have the room back.
type promise struct {
	payer  string
	n      int // beside what it had
	wanted int // with it
	until  time.Time
}

// promised is how long that is: whoever was refused comes again after two intervals
// at the latest.
const promised = 2 * time.Minute

// NewAllowance returns one that nothing was taken of. what stands behind a
// number in an error, such as "partitions".
func NewAllowance(what string, share, all int) *Allowance {
	return &Allowance{what: what, share: share, all: all, taken: map[string]int{}, givers: map[string]map[*Holding]struct{}{}}
}

// Of returns what the source, or the connection, holds that is being opened. ctx
// is Open's, or that of a dial of Shared.
func (a *Allowance) Of(ctx context.Context) *Holding {
	if l := Of(ctx); l != nil {
		return l.holding(a)
	}
	return &Holding{of: a, payers: nobody}
}

// For returns what is held for one namespace.
func (a *Allowance) For(namespace string) *Holding {
	return &Holding{of: a, payers: func() []string { return []string{namespace} }}
}

// Holding is what one source, or one connection, holds of an Allowance. A nil
// Holding is not counted.
type Holding struct {
	of     *Allowance
	payers func() []string // the namespaces that use it now
	// giveUp has all that is held given back soon, and is called with no lock held; nil
	// where nobody can be asked to.
	giveUp func()

	payer string // guarded by of.mu, like the following
	n     int
	asked int // how many it was asked to give back
}

// Set changes how many are held. More than may be are refused, and then as many
// are held as before. It is called with no lock that ringing or closing needs.
func (h *Holding) Set(n int) error {
	if h == nil || h.less(n) {
		return nil
	}
	asked, err := h.more(n, h.payers())
	for _, h := range asked {
		h.giveUp()
	}
	return err
}

// less changes to a number that is no more than what is held.
func (h *Holding) less(n int) bool {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	if n > h.n {
		return false
	}
	h.hold(h.payer, n)
	return true
}

// more has the first of the namespaces pay that can: who shares a source with
// somebody that has used up their share does not suffer from it.
// Where none can, asked are those that make way, to be called with no lock held.
func (h *Holding) more(n int, payers []string) (asked []*Holding, err error) {
	a := h.of
	a.mu.Lock()
	defer a.mu.Unlock()
	payer, had := h.payer, h.n
	h.hold(payer, 0)
	for _, payer := range payers {
		if err = a.check(payer, n); err == nil {
			h.hold(payer, n)
			if payer == a.promise.payer {
				a.promise = promise{}
			}
			return nil, nil
		}
	}
	h.hold(payer, had)
	for _, payer := range payers {
		if asked = a.makeWay(payer, n-had, h); asked != nil {
			break
		}
	}
	return asked, err
}

// hold changes what is held, and who pays. of.mu is held.
func (h *Holding) hold(payer string, n int) {
	a := h.of
	a.take(h.payer, -h.n)
	a.take(payer, n)
	if givers := a.givers[h.payer]; givers != nil && (n == 0 || h.payer != payer) {
		delete(givers, h)
		if len(givers) == 0 {
			delete(a.givers, h.payer)
		}
	}
	if n == 0 {
		a.leaving -= h.asked
		h.asked = 0
	} else if h.giveUp != nil {
		if a.givers[payer] == nil {
			a.givers[payer] = map[*Holding]struct{}{}
		}
		a.givers[payer][h] = struct{}{}
	}
	h.payer, h.n = payer, n
}

// makeWay returns what is to be given back so that a namespace may have n more: of the
// one that has the most, and more than twice as many, but not of what wants it. a.mu is
// held.
func (a *Allowance) makeWay(payer string, n int, by *Holding) (asked []*Holding) {
	wanted := a.taken[payer] + n
	if a.all == 0 || wanted > a.share {
		return nil
	}
	most := ""
	for namespace, taken := range a.taken {
		if most == "" || taken > a.taken[most] {
			most = namespace
		}
	}
	if a.taken[most] <= 2*wanted {
		return nil
	}
	for h := range a.givers[most] {
		if a.leaving >= n {
			break
		}
		if h.asked == 0 && h != by {
			h.asked = h.n
			a.leaving += h.n
			asked = append(asked, h)
		}
	}
	if asked != nil {
		a.promise = promise{payer, n, wanted, time.Now().Add(promised)}
	}
	return asked
}

// check refuses to let a namespace have n more. a.mu is held.
func (a *Allowance) check(payer string, n int) error {
	switch {
	case a.taken[payer]+n > a.share:
		return a.refusal("the triggers of namespace %q", payer, a.share)
	case a.all > 0 && a.total+n > a.all:
		return a.refusal("all triggers, those of namespace %q among them,", payer, a.all)
	case a.all > 0 && !a.leaves(payer, n):
		return a.flagged(words.Errorf(codes.ResourceExhausted, "the triggers of namespace %q would have this family hold more %s than they leave to others", payer, a.what))
	}
	return nil
}

// leaves reports whether enough is left to others when a namespace has n more.
func (a *Allowance) leaves(payer string, n int) bool {
	own, left := a.taken[payer]+n, a.all-a.total-n
	if p := a.promise; p.payer != payer && own > p.wanted && time.Now().Before(p.until) {
		left -= p.n
	}
	return own <= a.all/32 || own <= left && left >= a.all/4
}

func (a *Allowance) refusal(whose, payer string, most int) error {
	return a.flagged(words.Errorf(codes.ResourceExhausted, whose+" would have this family hold more than %d %s", payer, most, a.what))
}

func (a *Allowance) flagged(err error) error {
	if a.flag != "" {
		err = words.Errorf(codes.ResourceExhausted, "%w, see %s", err, a.flag)
	}
	return err
}

// take is called with a.mu held.
func (a *Allowance) take(payer string, n int) {
	a.total += n
	if a.taken[payer] += n; a.taken[payer] == 0 {
		delete(a.taken, payer)
	}
}

// nobody pays for what is opened outside of a family.
func nobody() []string { return []string{""} }
