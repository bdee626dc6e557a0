package wire

import (
	"sync"
	"time"
)

// What comes while nobody reads, such as messages to doorbells, costs processor time
// and nobody's read. A connection and a namespace have a rate for it, in bytes, and
// each time that something comes counts as some more. Beyond it nothing is taken from
// the network for a while, and the peer has to wait, so that whoever floods is no more
// than slow. A message after a pause never waits.
const (
	eachTime = 256
	// ofConn and ofNamespace are for a second, burstOf at once for either.
	ofConn, ofNamespace = 512 << 10, 2 << 20
	// It has room for a batch of Kafka, which is one answer to whoever waits for work.
	burstOf = 2 << 20
	// ofAllNamespaces is what those that have more than their rate share.
	ofAllNamespaces = 8 << 20
	// longestHold is how long somebody waits before one piece is read, and what is
	// left of the time that they have for it: who never hears anything gives up the
	// connection. What is owed stays.
	longestHold = time.Second
	// glance is how often who waits looks whether it still has to.
	glance = 20 * time.Millisecond
)

// owed is what came and has not been waited for.
type owed struct {
	bytes int64
	at    time.Time
}

// add returns for how long nothing more may come.
func (o *owed) add(n, rate int64, now time.Time) time.Duration {
	o.pass(rate, now)
	o.bytes += n
	return time.Duration(max(o.bytes-burstOf, 0)) * time.Second / time.Duration(rate)
}

// pass forgives what time has passed for.
func (o *owed) pass(rate int64, now time.Time) {
	if !o.at.IsZero() {
		o.bytes = max(o.bytes-int64(now.Sub(o.at).Seconds()*float64(rate)), 0)
	}
	o.at = now
}

// unasked is what the namespaces of the process owe.
var unasked = &debts{of: map[string]*owed{}, rate: ofNamespace}

type debts struct {
	mu   sync.Mutex
	of   map[string]*owed
	rate int64     // of a namespace
	at   time.Time // when it was found
}

func (d *debts) add(namespace string, n int64, now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.at) >= time.Second {
		d.share(now)
	}
	o := d.of[namespace]
	if o == nil {
		o = &owed{}
		d.of[namespace] = o
	}
	return o.add(n, d.rate, now)
}

// share finds the rate of a namespace, and forgets those that owe nothing. d.mu is
// held.
func (d *debts) share(now time.Time) {
	loud := int64(0)
	for namespace, o := range d.of {
		o.pass(d.rate, now)
		switch {
		case o.bytes == 0:
			delete(d.of, namespace)
		case o.bytes > burstOf:
			loud++
		}
	}
	d.rate, d.at = min(ofNamespace, ofAllNamespaces/max(loud, 1)), now
}

// came notes bytes that nobody waits for. Of an endpoint that nobody owns it is not
// known when it is read. c.mu is held.
func (c *conn) came(n int, now time.Time) {
	if c.meter.payers == nil {
		return
	}
	cost := int64(n) + eachTime
	wait := max(c.owed.add(cost, ofConn, now), unasked.add(c.meter.ownedBy(now)[0], cost, now))
	c.until = now.Add(wait)
}

// hold waits for as long as the peer has to, unless somebody reads, or whoever waits
// for what comes waits no more.
func (c *conn) hold() {
	for began := time.Now(); ; {
		now := time.Now()
		c.mu.Lock()
		until := c.until
		c.mu.Unlock()
		most := longestHold
		if deadline := c.deadline.Load(); deadline != nil {
			most = min(most, deadline.Sub(began)/2)
		}
		if latest := began.Add(most); latest.Before(until) {
			until = latest
		}
		if !until.After(now) || c.closed.Load() || c.refused.Load() != nil || c.meter.waited() {
			return
		}
		<-time.After(min(until.Sub(now), glance))
	}
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) note(deadline time.Time) {
	if deadline.IsZero() {
		c.deadline.Store(nil)
		return
	}
	c.deadline.Store(&deadline)
}
