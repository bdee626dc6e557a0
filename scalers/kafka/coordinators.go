package main

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// mostCoordinators bounds what is remembered; beyond it, all are looked up anew.
const mostCoordinators = 10_000

// coordinators remembers the broker that keeps each group.
type coordinators struct {
	brokers *brokers

	mu   sync.Mutex
	node map[string]int32
}

// groupAnswer is what was said of one group.
type groupAnswer[A any] struct {
	answer A
	err    error
}

// inquiry is something that is asked about groups.
type inquiry[A any] struct {
	at *coordinators
	// ask asks one coordinator about its groups.
	ask func(ctx context.Context, node int32, groups []string) (map[string]groupAnswer[A], error)
	// tell is called with what is said of each group as soon as that is known,
	// once.
	tell func(group string, said groupAnswer[A])
}

// about asks about groups, each at its coordinator and all coordinators side by
// side. Groups that have moved meanwhile are looked for again that many times.
func (q inquiry[A]) about(ctx context.Context, groups []string, again int) {
	var parts sync.WaitGroup
	defer parts.Wait()
	known, unknown := q.at.known(groups)
	q.askEach(ctx, &parts, known, again)
	if len(unknown) > 0 {
		found, lost := q.at.find(ctx, unknown)
		q.askEach(ctx, &parts, found, again)
		said := make(map[string]groupAnswer[A], len(lost))
		for group, err := range lost {
			said[group] = groupAnswer[A]{err: err}
		}
		q.settle(ctx, said, again)
	}
}

func (q inquiry[A]) askEach(ctx context.Context, parts *sync.WaitGroup, at map[int32][]string, again int) {
	for node, groups := range at {
		parts.Go(func() {
			said, err := q.ask(ctx, node, groups)
			if err != nil { // its groups may be elsewhere by the next read
				q.at.forget(groups)
			}
			q.settle(ctx, complete(groups, said, err), again)
		})
	}
}

// settle tells what coordinators said of groups, and asks the new coordinators of
// those that have moved.
func (q inquiry[A]) settle(ctx context.Context, said map[string]groupAnswer[A], again int) {
	var moved []string
	for group, one := range said {
		if hasMoved(one.err) {
			moved = append(moved, group)
		} else {
			q.tell(group, one)
		}
	}
	q.at.forget(moved)
	switch {
	case len(moved) == 0:
	case again > 0 && pause(ctx, backoff(tries-again+1)):
		q.about(ctx, moved, again-1)
	default:
		for _, group := range moved {
			q.tell(group, said[group])
		}
	}
}

// complete fills up what a coordinator said: with its failure, or with what it
// left out.
func complete[A any](groups []string, said map[string]groupAnswer[A], err error) map[string]groupAnswer[A] {
	if err == nil {
		err = errOmitted
	}
	all := make(map[string]groupAnswer[A], len(groups))
	for _, group := range groups {
		one, ok := said[group]
		if !ok {
			one.err = err
		}
		all[group] = one
	}
	return all
}

// hasMoved is true for an error that says to look for the coordinator again.
func hasMoved(err error) bool {
	return errors.Is(err, kerr.NotCoordinator) || errors.Is(err, kerr.CoordinatorNotAvailable) ||
		errors.Is(err, kerr.CoordinatorLoadInProgress) || errors.Is(err, errGone)
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// forget has groups looked for anew.
func (c *coordinators) forget(groups []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, group := range groups {
		delete(c.node, group)
	}
}

// known returns the groups of each coordinator, and those to be looked up.
func (c *coordinators) known(groups []string) (known map[int32][]string, unknown []string) {
	known = make(map[int32][]string)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, group := range groups {
		if node, ok := c.node[group]; ok {
			known[node] = append(known[node], group)
		} else {
			unknown = append(unknown, group)
		}
	}
	return known, unknown
}

// find looks groups up, and says why one has no coordinator.
func (c *coordinators) find(ctx context.Context, groups []string) (found map[int32][]string, lost map[string]error) {
	found, lost = make(map[int32][]string), make(map[string]error)
	said, err := inRequests(groups, func(groups []string) (map[string]groupAnswer[int32], bool, error) {
		return c.lookUp(ctx, groups)
	})
	for group, one := range complete(groups, said, err) {
		if one.err != nil {
			lost[group] = one.err
			continue
		}
		found[one.answer] = append(found[one.answer], group)
		c.remember(group, one.answer)
	}
	return found, lost
}

func (c *coordinators) remember(group string, node int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.node) >= mostCoordinators {
		clear(c.node)
	}
	c.node[group] = node
}

// lookUp asks any broker for the coordinators of groups, and tells whether that
// takes several groups in one request.
func (c *coordinators) lookUp(ctx context.Context, groups []string) (map[string]groupAnswer[int32], bool, error) {
	const firstOfSeveral = 4
	answer, err := c.brokers.askAny(ctx, func() kmsg.Request {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = groups[0], groups
		return req
	})
	if err != nil {
		return nil, false, err
	}
	resp := answer.(*kmsg.FindCoordinatorResponse)
	if resp.Version < firstOfSeveral {
		one := groupAnswer[int32]{resp.NodeID, kerr.ErrorForCode(resp.ErrorCode)}
		return map[string]groupAnswer[int32]{groups[0]: one}, false, nil
	}
	said := make(map[string]groupAnswer[int32], len(groups))
	for _, at := range resp.Coordinators {
		said[at.Key] = groupAnswer[int32]{at.NodeID, kerr.ErrorForCode(at.ErrorCode)}
	}
	return said, true, nil
}

// inRequests asks about groups in one request, and about each alone where the
// broker takes no more, as before 3.0: then ask answers for the first and says
// so.
func inRequests[A any](
	groups []string, ask func(groups []string) (said map[string]groupAnswer[A], several bool, err error),
) (map[string]groupAnswer[A], error) {
	said, several, err := ask(groups)
	if err == nil && !several {
		askAlone(groups[1:], said, ask)
	}
	return said, err
}

// askAlone adds what is said of each group alone.
func askAlone[A any](
	groups []string, said map[string]groupAnswer[A],
	ask func(groups []string) (map[string]groupAnswer[A], bool, error),
) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, group := range groups {
		all.Go(func() {
			one, _, err := ask([]string{group})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				said[group] = groupAnswer[A]{err: err}
				return
			}
			maps.Copy(said, one)
		})
	}
	all.Wait()
}
