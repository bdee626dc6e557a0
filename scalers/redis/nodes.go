package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

const (
	// mostNodes is how many servers a cluster may name, and a client be made
	// for; Redis recommends no more than a thousand.
	mostNodes = 1000
	// longestAddress is a host name as long as they may be, colon and port.
	longestAddress = 264
	// nodeCost is what a server takes: each has connections with their buffers.
	nodeCost = 4 * bufferSize
	// forgetNode is when a server is forgotten that the cluster names no more.
	forgetNode = time.Minute
)

// nodes are the servers of a cluster, by the address under which it knows them.
// What is asked where is told by them, so that their number is bounded here.
type nodes struct {
	cluster *redis.ClusterClient
	held    *client.Holding

	mu     sync.Mutex
	known  map[string]*node
	closed bool // what the library still learns is held no more
}

type node struct {
	client *redis.Client // of the library, which closes it; or nil
	own    *redis.Client // where a key was said to be before the cluster named it
	named  time.Time
}

// newNodes returns the servers of a cluster of which the options have some.
func newNodes(ctx context.Context, options *redis.ClusterOptions) (*nodes, error) {
	n := &nodes{held: client.FurtherServers(ctx), known: map[string]*node{}}
	if err := n.remember(options.Addrs, time.Now()); err != nil {
		return nil, err
	}
	options.NewClient = n.add
	n.cluster = redis.NewClusterClient(options) //dials:through the Dialer of its options
	return n, nil
}

// add is called by the library for each server that it gets to know.
func (n *nodes) add(options *redis.Options) *redis.Client {
	client := redis.NewClient(options) //dials:through the Dialer of its options
	client.AddHook(slotsHook{n})
	n.mu.Lock()
	defer n.mu.Unlock()
	if known := n.known[client.NodeAddress()]; known != nil {
		known.client, known.named = client, time.Now()
	} else {
		n.known[client.NodeAddress()] = &node{client: client, named: time.Now()}
	}
	return client
}

// at returns a client of the server with an address, such as one that joins a
// cluster and has no slots yet.
func (n *nodes) at(address string, like *redis.Client) (*redis.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.remember([]string{address}, time.Now()); err != nil {
		return nil, err
	}
	known := n.known[address]
	if known.own == nil && known.client != nil {
		return known.client, nil
	}
	if known.own == nil {
		options := *like.Options()
		options.Addr, options.NodeAddress = address, address
		known.own = redis.NewClient(&options) //dials:through the Dialer of its options
	}
	return known.own, nil
}

// refresh has the library learn anew where keys are.
func (n *nodes) refresh(ctx context.Context) { n.cluster.ReloadState(ctx) }

// remember notes that servers were named, and fails when they are too many, with
// those that were named in the last minutes. n.mu is held, but by newNodes.
func (n *nodes) remember(addresses []string, now time.Time) error {
	if n.closed {
		return net.ErrClosed
	}
	n.forget(now)
	fresh := map[string]bool{}
	for _, address := range addresses {
		switch known := n.known[address]; {
		case len(address) > longestAddress:
			return fmt.Errorf("the cluster names a server with an address of more than %d bytes", longestAddress)
		case known != nil:
			known.named = now
		default:
			fresh[address] = true
		}
	}
	if len(n.known)+len(fresh) > mostNodes {
		return fmt.Errorf("the cluster names more than %d servers", mostNodes)
	}
	if err := n.held.Set((len(n.known) + len(fresh)) * nodeCost); err != nil {
		return err
	}
	for address := range fresh {
		n.known[address] = &node{named: now}
	}
	return nil
}

// forget takes out what was not named lately. n.mu is held.
func (n *nodes) forget(now time.Time) {
	for address, known := range n.known {
		if now.Sub(known.named) <= forgetNode {
			continue
		}
		delete(n.known, address)
		if known.own != nil {
			known.own.Close()
		}
	}
}

// close ends the connections that the library does not know.
func (n *nodes) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, known := range n.known {
		if known.own != nil {
			known.own.Close()
		}
	}
	_ = n.held.Set(0) // never refused
}

// named notes servers that the cluster says have its slots.
func (n *nodes) named(slots []redis.ClusterSlot, now time.Time) error {
	var addresses []string
	for _, slot := range slots {
		for _, one := range slot.Nodes {
			addresses = append(addresses, one.Addr)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.remember(addresses, now)
}

// slotsHook looks at where keys are said to be, before the library does.
type slotsHook struct{ nodes *nodes }

// DialHook changes nothing.
func (slotsHook) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook changes nothing.
func (slotsHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook fails answers with too many servers.
func (h slotsHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		slots, ok := cmd.(*redis.ClusterSlotsCmd)
		if err != nil || !ok {
			return err
		}
		err = h.nodes.named(slots.Val(), time.Now())
		slots.SetErr(err)
		return err
	}
}
