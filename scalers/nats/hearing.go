package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// hearing is one session that listens for all listeners. A subscription is good for
// one message, so that a subject on which thousands are published costs the
// server one of them now and then.
type hearing struct {
	session   *session
	listeners *client.Listeners
	subjects  map[string]*subject
	ids       map[string]string     // subjects by the id of their subscription
	last      int                   // id
	silent    map[*subject]struct{} // that have no subscription
	next      time.Time             // when the first of them is due; zero for now
	adopted   time.Time             // not to be looked at before who listens, who may be many
	stale     bool                  // others listen than was known
	pings     []pinged              // not answered yet, in order
}

// pinged is a question that comes after all that was sent before it had its
// effect.
type pinged struct {
	fresh []*subject // that are listened to once it is answered; none for a check
	at    time.Time
}

// subject is one that somebody listens to.
type subject struct {
	name   string
	topics []string // of whom
	id     string   // of its subscription; "" while there is none
	told   bool     // it has been listened to at least once
	due    time.Time
	rung   time.Time // zero for never
	hold   time.Duration
}

// run returns nil when nobody listens any more.
func (h *hearing) run(ctx context.Context, events <-chan event, broken <-chan error) error {
	check := time.NewTicker(checking)
	defer check.Stop()
	more, err := h.adopt()
	for more && err == nil {
		timer := time.NewTimer(time.Until(h.due()))
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case err = <-broken:
		case e := <-events:
			err = h.heard(e)
		case <-h.listeners.Changed():
			h.stale = true
		case <-check.C:
			err = h.check()
		case <-timer.C:
			if h.stale && !time.Now().Before(h.adopted) {
				more, err = h.adopt()
			}
			if err == nil {
				err = h.subscribe(time.Now())
			}
		}
		timer.Stop()
	}
	return err
}

// due is when there is something to do next.
func (h *hearing) due() time.Time {
	if h.stale && h.adopted.Before(h.next) {
		return h.adopted
	}
	return h.next
}

// adopt takes over what is listened to now; it is false for nothing.
func (h *hearing) adopt() (more bool, err error) {
	began := time.Now()
	h.stale = false
	topics := h.listeners.Topics()
	subjects := map[string]*subject{}
	for _, topic := range topics {
		for name := range strings.SplitSeq(topic, " ") {
			one := subjects[name]
			if one == nil {
				if one = h.subjects[name]; one == nil {
					one = &subject{name: name}
				}
				one.topics = nil
				subjects[name] = one
			}
			one.topics = append(one.topics, topic)
		}
	}
	for name, old := range h.subjects {
		if subjects[name] == nil && old.id != "" {
			delete(h.ids, old.id)
			h.session.write("UNSUB " + old.id + "\r\n")
		}
	}
	h.subjects, h.silent, h.next = subjects, map[*subject]struct{}{}, time.Time{}
	for _, one := range subjects {
		if one.id == "" {
			h.silent[one] = struct{}{}
		}
	}
	h.listening(topics)
	err = h.session.flush()
	// A tenth of the time is spent on it at the most, however often some come and go.
	h.adopted = time.Now().Add(9 * time.Since(began))
	return len(topics) > 0, err
}

// subscribe subscribes to what is due, and notes when to come back.
func (h *hearing) subscribe(now time.Time) error {
	if h.next.After(now) {
		return nil
	}
	h.next = now.Add(checking)
	var fresh []*subject
	for one := range h.silent {
		if one.due.After(now) {
			h.wait(one)
			continue
		}
		h.last++
		one.id = strconv.Itoa(h.last)
		h.ids[one.id] = one.name
		delete(h.silent, one)
		h.session.write("SUB " + one.name + " " + one.id + "\r\nUNSUB " + one.id + " 1\r\n")
		fresh = append(fresh, one)
	}
	if len(fresh) == 0 {
		return nil
	}
	return h.ping(fresh)
}

// wait has what is due come back in time, soon after each other at the earliest.
func (h *hearing) wait(one *subject) {
	h.silent[one] = struct{}{}
	if due := one.due.Truncate(together).Add(together); due.Before(h.next) {
		h.next = due
	}
}

// together is within which time subjects are subscribed to at once.
const together = 5 * time.Millisecond

// ping asks for an answer.
func (h *hearing) ping(fresh []*subject) error {
	h.session.write("PING\r\n")
	h.pings = append(h.pings, pinged{fresh, time.Now()})
	return h.session.flush()
}

// check asks whether the server is there, if nothing else is asked.
func (h *hearing) check() error {
	switch {
	case len(h.pings) == 0:
		return h.ping(nil)
	case time.Since(h.pings[0].at) < checking/2:
		return nil
	default:
		return scaler.Errorf(codes.DeadlineExceeded, "no answer in time")
	}
}

func (h *hearing) heard(e event) error {
	switch e.kind {
	case message:
		h.rung(e.text)
	case pong:
		if len(h.pings) == 0 {
			return errProtocol
		}
		fresh := h.pings[0].fresh
		h.pings = h.pings[1:]
		h.confirmed(fresh)
	case ping:
		h.session.write("PONG\r\n")
		return h.session.flush()
	case refusal:
		return h.refused(e.text)
	case nothing:
	}
	return nil
}

// rung rings for a message. Its subscription has ended with it.
func (h *hearing) rung(id string) {
	name, known := h.ids[id]
	if !known {
		return
	}
	delete(h.ids, id)
	one, now := h.subjects[name], time.Now()
	if now.Sub(one.rung) < 2*one.hold {
		one.hold = min(2*one.hold, longestHold)
	} else {
		one.hold = shortestHold
	}
	one.id, one.rung, one.due = "", now, now.Add(one.hold)
	h.wait(one)
	h.listeners.Ring(one.topics...)
}

// confirmed knows that subjects are listened to. Those that have rung before
// ring once more: for what came in between, and because a message is heard
// before all servers of its stream have it.
func (h *hearing) confirmed(fresh []*subject) {
	topics := map[string]struct{}{}
	for _, one := range fresh {
		if h.subjects[one.name] != one {
			continue // nobody wants to hear of it any more
		}
		if !one.rung.IsZero() {
			h.listeners.Ring(one.topics...)
		}
		one.told = true
		for _, topic := range one.topics {
			topics[topic] = struct{}{}
		}
	}
	h.listening(slices.Collect(maps.Keys(topics)))
}

// listening tells those of the topics all of whose subjects are listened to.
func (h *hearing) listening(topics []string) {
	h.listeners.Listening(slices.DeleteFunc(slices.Clone(topics), func(topic string) bool {
		for name := range strings.SplitSeq(topic, " ") {
			if one := h.subjects[name]; one == nil || !one.told {
				return true
			}
		}
		return false
	}))
}

// refused ends listening for a subject that the user may not listen to, for those
// that the server has no room for, or all of it. Nothing of the server's text is
// repeated.
func (h *hearing) refused(text string) error {
	quoted, found := strings.CutPrefix(text, "Permissions Violation for Subscription to ")
	quoted, _ = strconv.QuotedPrefix(quoted) // as Go writes it
	name, _ := strconv.Unquote(quoted)
	switch err := failureOf(text); {
	case found && h.subjects[name] != nil:
		h.fail(h.subjects[name], refusedError(name))
	case errors.Is(err, errFull) && len(h.pings) > 0 && len(h.pings[0].fresh) > 0:
		for _, one := range h.pings[0].fresh {
			h.fail(one, fmt.Errorf("%w: %w", scaler.ErrDoorbellRefused, errFull))
		}
	default:
		return err
	}
	return nil
}

func (h *hearing) fail(one *subject, err error) {
	for _, topic := range one.topics {
		h.listeners.Fail(topic, err)
	}
}
