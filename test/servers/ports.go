package servers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken below Linux's default range for outgoing connections
// (32768 and up), so that no client takes a server's port while the server is
// down between Kill and Restart.
const (
	firstPort = 15000
	lastPort  = 32000
)

// handedOut holds the ports given to a server of this process, so that two
// that start at the same time do not get the same.
var handedOut sync.Map

// freePorts returns n ports that nobody listens on at address.
func freePorts(ctx context.Context, address string, n int) ([]int, error) {
	var ports []int
	for range 100 * n {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", hostPort(address, port))
		if err != nil {
			continue
		}
		l.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports between %d and %d at %s", n, firstPort, lastPort, address)
}

func hostPort(address string, port int) string {
	return net.JoinHostPort(address, strconv.Itoa(port))
}
