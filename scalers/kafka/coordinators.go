package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// mostCoordinators bounds what is remembered; beyond it, all are looked up anew.
const mostCoordinators = 10_000

// coordinators remembers the broker that keeps each group.
type coordinators struct {
	brokers *brokers
	// several is true while brokers take more than one group in a request,
	// which they do since 3.0.
	several atomic.Bool

	mu   sync.Mutex
	node map[string]int32
}

// groupAnswer is what was said of one group.
type groupAnswer[A any] struct {
	answer A
	err    error
}

// askCoordinators asks about groups, each at its coordinator and all
// coordinators side by side, and tells what is said of each group as soon as
// that is known, once. A group that has moved meanwhile is looked for again.
func askCoordinators[A any](
	ctx context.Context, c *coordinators, groups []string,
	ask func(ctx context.Context, node int32, groups []string) (map[string]groupAnswer[A], error),
	tell func(group string, said groupAnswer[A]),
) {
	askTimes(ctx, c, groups, tries, ask, tell)
}

func askTimes[A any](
	ctx context.Context, c *coordinators, groups []string, left int,
	ask func(ctx context.Context, node int32, groups []string) (map[string]groupAnswer[A], error),
	tell func(group string, said groupAnswer[A]),
) {
	var parts sync.WaitGroup
	defer parts.Wait()
	// next has those looked for again that have moved, after a pause.
	next := func(groups []string, said map[string]groupAnswer[A]) {
		moved := slices.DeleteFunc(slices.Clone(groups), func(group string) bool { return !hasMoved(said[group].err) })
		c.forget(moved)
		again := len(moved) > 0 && left > 0 && pause(ctx, backoff(tries-left+1))
		for _, group := range groups {
			if !again || !slices.Contains(moved, group) {
				tell(group, said[group])
			}
		}
		if again {
			askTimes(ctx, c, moved, left-1, ask, tell)
		}
	}
	found, lost := c.find(ctx, groups)
	if len(lost) > 0 {
		said := make(map[string]groupAnswer[A], len(lost))
		for group, err := range lost {
			said[group] = groupAnswer[A]{err: err}
		}
		parts.Go(func() { next(slices.Collect(maps.Keys(lost)), said) })
	}
	for node, groups := range found {
		parts.Go(func() {
			said, err := ask(ctx, node, groups)
			if err != nil { // its groups may be elsewhere by the next read
				c.forget(groups)
			}
			next(groups, complete(groups, said, err))
		})
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

// find returns the groups of each coordinator, and why there is none.
func (c *coordinators) find(ctx context.Context, groups []string) (found map[int32][]string, lost map[string]error) {
	found, lost = make(map[int32][]string), make(map[string]error)
	var unknown []string
	c.mu.Lock()
	for _, group := range groups {
		if node, ok := c.node[group]; ok {
			found[node] = append(found[node], group)
		} else {
			unknown = append(unknown, group)
		}
	}
	c.mu.Unlock()
	if len(unknown) == 0 {
		return found, lost
	}
	said, err := inRequests(&c.several, unknown, func(groups []string) (map[string]groupAnswer[int32], bool, error) {
		return c.lookUp(ctx, groups)
	})
	for group, one := range complete(unknown, said, err) {
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

// inRequests asks about groups in one request, or in one for each where brokers
// take no more; ask tells which of the two its broker does, and answers at
// least for the first of its groups.
func inRequests[A any](
	several *atomic.Bool, groups []string,
	ask func(groups []string) (map[string]groupAnswer[A], bool, error),
) (map[string]groupAnswer[A], error) {
	at := len(groups)
	if !several.Load() {
		at = 1
	}
	said, ok, err := ask(groups[:at])
	if err != nil {
		return nil, err
	}
	several.Store(ok)
	switch left := groups[at:]; {
	case !ok:
		askEach(groups[1:], said, ask)
	case len(left) > 0:
		rest, ok, err := ask(left)
		if err != nil {
			return nil, err
		}
		maps.Copy(said, rest)
		if !ok { // brokers of different versions
			askEach(left[1:], said, ask)
		}
	}
	return said, nil
}

// askEach adds what is said of each group alone.
func askEach[A any](
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
