package localcluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The addresses of clusters are in 198.18.0.0/15, which is set aside for
// benchmarks of networks and so in use by nobody. Each cluster has a /22 of it:
// the first address is the control plane's, the others are Pods'.
var (
	firstBlock = netip.MustParseAddr("198.18.0.0")
	blockSize  = 1 << 10
	blocks     = 1 << 7
)

// newNetwork takes a block of addresses in the network that Enter made, or the
// machine's loopback device where it made none.
func newNetwork() (network, error) {
	if !entered() {
		return newSharedNetwork(), nil
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, fmt.Errorf("let Pods reach each other: %w", err)
	}
	here, err := netns.Get()
	if err != nil {
		return nil, err
	}
	block, err := takeBlock()
	if err != nil {
		return nil, errors.Join(err, here.Close())
	}
	return &isolatedNetwork{
		block:    block,
		here:     here,
		launcher: newLauncher(),
		taken:    map[int]bool{0: true, 1: true, blockSize - 1: true},
		next:     2,
	}, nil
}

// takeBlock puts the first address of a free block on the loopback device,
// which fails for a block that another cluster has.
func takeBlock() (int, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return 0, fmt.Errorf("loopback device: %w", err)
	}
	for block := range blocks {
		err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: hostNet(blockAddress(block, 1))})
		if err == nil {
			return block, nil
		}
		if !errors.Is(err, syscall.EEXIST) {
			return 0, fmt.Errorf("address for the control plane: %w", err)
		}
	}
	return 0, fmt.Errorf("address for the control plane: %d clusters run already", blocks)
}

// isolatedNetwork gives every Pod a network namespace, joined to the cluster's
// by a pair of virtual Ethernet devices and a route.
type isolatedNetwork struct {
	block    int
	here     netns.NsHandle
	launcher *launcher

	mu    sync.Mutex
	taken map[int]bool // offsets in the block
	next  int
	heals []func() error // of all cuts between two; each acts once
}

func (n *isolatedNetwork) address() netip.Addr        { return blockAddress(n.block, 1) }
func (n *isolatedNetwork) isolated() bool             { return true }
func (n *isolatedNetwork) launch(cmd *exec.Cmd) error { return n.launcher.start(cmd) }

func (n *isolatedNetwork) close() error {
	n.launcher.close()
	var errs []error
	for _, heal := range n.heals {
		errs = append(errs, heal())
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.AddrDel(lo, &netlink.Addr{IPNet: hostNet(n.address())})
	}
	return errors.Join(append(errs, err, n.here.Close())...)
}

// take returns the next free offset. An address is reused as late as possible,
// so that nobody mistakes a new Pod for an old one.
func (n *isolatedNetwork) take() (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range blockSize {
		offset := n.next
		n.next = (n.next + 1) % blockSize
		if !n.taken[offset] {
			n.taken[offset] = true
			return offset, nil
		}
	}
	return 0, errors.New("no address left for another Pod")
}

func (n *isolatedNetwork) giveBack(offset int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.taken, offset)
}

// sandbox makes a namespace and its link. Who talks to whom is written down on
// both ends as permanent neighbours, which is also what cut changes.
func (n *isolatedNetwork) sandbox(hostname string) (sandbox, error) {
	offset, err := n.take()
	if err != nil {
		return nil, err
	}
	pod := &pod{
		network:  n,
		hostname: hostname,
		offset:   offset,
		link:     fmt.Sprintf("pod%d-%d", n.block, offset),
		outside:  randomMAC(),
		inside:   randomMAC(),
	}
	if err := pod.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("network of a Pod: %w", err), pod.close())
	}
	return pod, nil
}

// pod is a Pod's network namespace and link.
type pod struct {
	network         *isolatedNetwork
	hostname        string // as seen inside: the Pod's name
	offset          int
	link            string // the device outside; inside it is eth0
	outside, inside net.HardwareAddr

	space  netns.NsHandle
	handle *netlink.Handle // acts inside
}

func (p *pod) address() netip.Addr { return blockAddress(p.network.block, p.offset) }

func (p *pod) open() error {
	p.space = netns.None()
	err := onOwnThread(func() (err error) {
		p.space, err = netns.New()
		return err
	})
	if err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	if p.handle, err = netlink.NewHandleAt(p.space); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	if err := p.connect(); err != nil {
		return err
	}
	return p.heal()
}

// connect makes the link and the routes over it.
func (p *pod) connect() error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.HardwareAddr = p.link, p.outside
	if err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs:        attributes,
		PeerName:         "eth0",
		PeerHardwareAddr: p.inside,
		PeerNamespace:    netlink.NsFd(p.space),
	}); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	link, err := netlink.LinkByName(p.link)
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	lo, eth0, err := p.devices()
	if err != nil {
		return err
	}
	gateway := p.network.address()
	steps := []func() error{
		func() error { return netlink.LinkSetUp(link) },
		func() error { return p.handle.LinkSetUp(lo) },
		func() error { return p.handle.LinkSetUp(eth0) },
		func() error { return p.handle.AddrAdd(eth0, &netlink.Addr{IPNet: hostNet(p.address())}) },
		func() error {
			return netlink.RouteAdd(&netlink.Route{
				LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
				Dst: hostNet(p.address()), Src: gateway.AsSlice(),
			})
		},
		func() error {
			return p.handle.RouteAdd(&netlink.Route{
				LinkIndex: eth0.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: hostNet(gateway),
			})
		},
		func() error {
			return p.handle.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway.AsSlice()})
		},
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("link, step %d: %w", i+1, err)
		}
	}
	return nil
}

func (p *pod) devices() (lo, eth0 netlink.Link, err error) {
	if lo, err = p.handle.LinkByName("lo"); err != nil {
		return nil, nil, fmt.Errorf("lo: %w", err)
	}
	if eth0, err = p.handle.LinkByName("eth0"); err != nil {
		return nil, nil, fmt.Errorf("eth0: %w", err)
	}
	return lo, eth0, nil
}

// heal tells both ends the other's true hardware address.
func (p *pod) heal() error { return p.setNeighbours(p.inside, p.outside) }

// cut sends the packets of both ends to hardware addresses that nobody has.
// They vanish, as on a broken line; nobody is told.
func (p *pod) cut() error { return p.setNeighbours(randomMAC(), randomMAC()) }

func (p *pod) setNeighbours(inside, outside net.HardwareAddr) error {
	link, err := netlink.LinkByName(p.link)
	if err != nil {
		return fmt.Errorf("link %s: %w", p.link, err)
	}
	_, eth0, err := p.devices()
	if err != nil {
		return err
	}
	if err := netlink.NeighSet(neighbour(link, p.address(), inside)); err != nil {
		return fmt.Errorf("neighbour %s: %w", p.address(), err)
	}
	if err := p.handle.NeighSet(neighbour(eth0, p.network.address(), outside)); err != nil {
		return fmt.Errorf("neighbour %s: %w", p.network.address(), err)
	}
	return nil
}

func neighbour(link netlink.Link, address netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex:    link.Attrs().Index,
		Family:       netlink.FAMILY_V4,
		State:        netlink.NUD_PERMANENT,
		IP:           address.AsSlice(),
		HardwareAddr: mac,
	}
}

// launch starts a container: the thread that makes a process decides in which
// namespace it lives.
func (p *pod) launch(cmd *exec.Cmd) error {
	dieWithParent(cmd)
	return p.network.launcher.do(func() error {
		if err := netns.Set(p.space); err != nil {
			return fmt.Errorf("enter the Pod's network: %w", err)
		}
		startErr := setHostname(p.hostname)
		if startErr == nil {
			startErr = cmd.Start()
		}
		if err := netns.Set(p.network.here); err != nil {
			// The thread is lost in a Pod; every later start would be too.
			panic(fmt.Sprintf("leave the Pod's network: %v", err))
		}
		return startErr
	})
}

// setHostname names the machine for what this thread starts next.
func setHostname(name string) error {
	if err := syscall.Unshare(syscall.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("host name of a Pod: %w", err)
	}
	if err := syscall.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("host name of a Pod: %w", err)
	}
	return nil
}

// dial makes the socket inside; once made, any thread may use it.
func (p *pod) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = onOwnThread(func() error {
		if err := netns.Set(p.space); err != nil {
			return err
		}
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// close ends the namespace, and with it the link, once no process is in it.
func (p *pod) close() error {
	if p.handle != nil {
		p.handle.Close()
	}
	var err error
	if link, lookup := netlink.LinkByName(p.link); lookup == nil {
		err = netlink.LinkDel(link)
	}
	if p.space.IsOpen() {
		err = errors.Join(err, p.space.Close())
	}
	p.network.giveBack(p.offset)
	return err
}

// onOwnThread runs f on a thread that is thrown away afterwards, so that f may
// leave it in any namespace.
func onOwnThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}

func blockAddress(block, offset int) netip.Addr {
	start := firstBlock.As4()
	n := int(start[1])<<16 | int(start[2])<<8 | int(start[3])
	n += block*blockSize + offset
	return netip.AddrFrom4([4]byte{start[0], byte(n >> 16), byte(n >> 8), byte(n)})
}

// hostNet is the network that consists of one address.
func hostNet(address netip.Addr) *net.IPNet {
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

// randomMAC is a unicast address of the locally administered kind.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac) // never fails
	mac[0] = mac[0]&^1 | 2
	return mac
}
