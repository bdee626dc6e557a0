package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

const (
	// mostSentinels is up to how many those that are named by others are added;
	// the trigger may name more.
	mostSentinels = 16
	// headStart is the time that the Sentinel which answered last has before the
	// others are asked, too.
	headStart = 500 * time.Millisecond
	// sentinelsAtOnce are asked beside each other: each takes a client.
	sentinelsAtOnce = 8
	// masterCheck is how long the master is taken to be the same while its
	// connections hold.
	masterCheck = 10 * time.Second
)

// errNoSentinel is about Sentinels of which none names the master.
var errNoSentinel = errors.New("no Sentinel names the master")

// sentinels say which server is the master. The library can ask them, too, but
// takes what they answer and announce on trust, on goroutines of its own.
type sentinels struct {
	name    string        // of the master
	options redis.Options // of a connection to a Sentinel, but for the address
	every   time.Duration // masterCheck

	mu        sync.Mutex
	addresses []string // the one that answered last comes first
	master    string
	asked     time.Time
	checking  bool
	running   sync.WaitGroup
	//nolint:containedctx // that of the connections to the master, which end with it
	current context.Context
	end     context.CancelFunc
}

// newSentinels returns those that the options name. They are connected to as
// the master is.
func newSentinels(options *redis.UniversalOptions) *sentinels {
	own := *options.Simple()
	own.Username, own.Password, own.DB = options.SentinelUsername, options.SentinelPassword, 0
	return &sentinels{
		name: options.MasterName, options: own, every: masterCheck,
		addresses: slices.Clone(options.Addrs), end: func() {},
	}
}

// dial connects to the master, whatever the address.
func (s *sentinels) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	address, err := s.ask(ctx)
	if err != nil {
		return nil, err
	}
	return until(s.named(address), s.options.Dialer)(ctx, network, address) //nolint:contextcheck // the connection outlives its dial
}

// named notes which server is the master. The connections to the one before
// end; it may not know yet that it is none.
func (s *sentinels) named(address string) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.master != address {
		s.end()
		s.master = address
		s.current, s.end = context.WithCancel(context.Background())
	}
	s.asked = time.Now()
	return s.current
}

// check asks again which server is the master, when that was long ago. Nobody
// waits for it.
func (s *sentinels) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checking || s.master == "" || time.Since(s.asked) < s.every {
		return
	}
	s.checking = true
	s.running.Go(func() {
		_ = scaler.Safely("check the master "+s.name, s.askAgain)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.checking = false
	})
}

// askAgain ends with the connections to the master.
func (s *sentinels) askAgain() error {
	s.mu.Lock()
	current := s.current
	s.asked = time.Now()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(current, answerLimit)
	defer cancel()
	address, err := s.ask(ctx)
	if err == nil && ctx.Err() == nil {
		s.named(address)
	}
	return err
}

// close ends the connections to the master.
func (s *sentinels) close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.running.Wait()
}

// word is what one Sentinel says.
type word struct {
	from, master string
	others       []string
	err          error
}

// ask returns the master's address: what the Sentinel that answered last says,
// or else the first of the others.
func (s *sentinels) ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	s.mu.Lock()
	left := slices.Clone(s.addresses)
	s.mu.Unlock()
	said := make(chan word, len(left))
	begin := func(n int) {
		for _, address := range left[:n] {
			asking.Go(func() { said <- s.askOne(ctx, address) })
		}
		left = left[n:]
	}
	begin(1)
	late := time.NewTimer(headStart)
	defer late.Stop()
	var errs []error
	pending := 1
	for waiting := len(left) + 1; waiting > 0; {
		select {
		case one := <-said:
			if one.err == nil {
				s.learn(one)
				return one.master, nil
			}
			errs = append(errs, one.err)
			waiting--
			pending--
		case <-late.C:
		}
		n := min(len(left), sentinelsAtOnce-pending)
		begin(n)
		pending += n
	}
	return "", fmt.Errorf("%w: %w", errNoSentinel, errors.Join(errs...))
}

// askOne asks one Sentinel for the master, and for others of its kind.
func (s *sentinels) askOne(ctx context.Context, address string) (said word) {
	said.from = address
	said.err = scaler.Safely("ask the Sentinel "+address, func() error {
		options := s.options
		options.Addr, options.Dialer = address, until(ctx, beside(s.options.Dialer))
		client := redis.NewSentinelClient(&options) //dials:through the Dialer of its options
		defer client.Close()
		master, err := client.GetMasterAddrByName(ctx, s.name).Result()
		if err != nil {
			return err
		}
		if len(master) != 2 {
			return errNoRedis
		}
		said.master = net.JoinHostPort(master[0], master[1])
		others, _ := client.Sentinels(ctx, s.name).Result() // it need not be allowed
		for _, other := range others {
			if other["ip"] != "" && other["port"] != "" {
				said.others = append(said.others, net.JoinHostPort(other["ip"], other["port"]))
			}
		}
		return nil
	})
	return said
}

// learn puts the Sentinel that answered first, and adds those that it named.
func (s *sentinels) learn(said word) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.addresses, said.from); i > 0 {
		s.addresses[0], s.addresses[i] = s.addresses[i], s.addresses[0]
	}
	for _, other := range said.others {
		if len(s.addresses) < mostSentinels && !slices.Contains(s.addresses, other) {
			s.addresses = append(s.addresses, other)
		}
	}
}
