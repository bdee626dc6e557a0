package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// Limits of one login.
const (
	// mostCentres is how many key distribution centres of a realm are tried,
	// mostRealms in how many realms.
	mostCentres, mostRealms = 8, 8
	// mostExchanges is how often they are asked: for the login, and for tickets
	// on the way to the realm of the brokers.
	mostExchanges = 12
	// centreLimit bounds one exchange, kerberosLimit all of them.
	centreLimit, kerberosLimit = 3 * time.Second, 10 * time.Second
	// longestExchange bounds a request or an answer, in bytes. A ticket with
	// many groups in it has some 50 KiB.
	longestExchange = 128 << 10
)

// centres stand between the Kerberos library and the key distribution centres
// during one login. The library looks names up and dials by itself, asks name
// servers for centres, makes room for as much as one announces, hashes a
// password as often as one says, and renews tickets on goroutines where nobody
// recovers. What it makes of an answer, which is where it hashes, is done in turn with
// all that the family computes, until it asks again. So it is told that each realm has one centre, on the loopback
// device. What it asks there goes to the true ones by the rules of sources, and
// the answers come back when they are bounded. A renewal gets none.
type centres struct {
	dial      dialFunc
	hashing   *client.Hashing
	ctx       context.Context //nolint:containedctx // of one login
	cancel    context.CancelFunc
	listeners []net.Listener
	running   sync.WaitGroup

	mu        sync.Mutex
	exchanges int
	loggedIn  bool
	rest      func() // gives the turn to others; nil when there is none
	problem   error  // of the last exchange
}

// open has conf lead to centres of its own, over TCP, which each centre speaks
// (RFC 4120, section 7.2).
func (l kerberosLogin) open(ctx context.Context, conf *config.Config) (*centres, error) {
	if len(conf.Realms) > mostRealms {
		return nil, fmt.Errorf("kerberosConfig: has more than %d realms", mostRealms)
	}
	ctx, cancel := context.WithTimeout(ctx, kerberosLimit)
	c := &centres{dial: l.dial, hashing: l.hashing, ctx: ctx, cancel: cancel}
	conf.LibDefaults.DNSLookupKDC, conf.LibDefaults.DNSLookupRealm = false, false
	conf.LibDefaults.UDPPreferenceLimit = 1
	for i := range conf.Realms {
		realm := &conf.Realms[i]
		if len(realm.KDC) == 0 {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			c.close()
			return nil, err
		}
		c.listeners = append(c.listeners, listener)
		addresses := realm.KDC[:min(len(realm.KDC), mostCentres)]
		c.running.Go(func() { c.serve(listener, addresses) }) //nolint:contextcheck // it is in c
		realm.KDC = []string{listener.Addr().String()}
	}
	context.AfterFunc(ctx, c.hangUp)
	return c, nil
}

func (c *centres) hangUp() {
	for _, listener := range c.listeners {
		listener.Close()
	}
}

// close ends all that open began.
func (c *centres) close() {
	c.cancel()
	c.hangUp()
	c.running.Wait()
	c.takeTurn(nil)
}

// takeTurn ends the turn that there is. rest ends the next one; nil for none.
func (c *centres) takeTurn(rest func()) {
	c.mu.Lock()
	before := c.rest
	c.rest = rest
	c.mu.Unlock()
	if before != nil {
		before()
	}
}

// why is what the centres made of a login that failed.
func (c *centres) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.problem != nil {
		return c.problem
	}
	if c.exchanges == 0 {
		return errors.New("kerberosConfig: has no kdc for realm")
	}
	return loginError{"the Kerberos realm knows neither this user with this password or keytab, nor a way to the brokers' service"}
}

// serve answers one request after the other, as the library asks.
func (c *centres) serve(listener net.Listener, addresses []string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		c.note(c.exchange(conn, addresses))
		conn.Close()
	}
}

func (c *centres) note(problem error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = problem
}

// exchange passes a request on, and its answer back.
func (c *centres) exchange(library net.Conn, addresses []string) error {
	defer context.AfterFunc(c.ctx, func() { library.Close() })()
	request, err := readExchange(library)
	c.takeTurn(nil)
	if err != nil {
		return err
	}
	if err := c.admit(request); err != nil {
		return err
	}
	answer, err := c.askAny(request, addresses)
	if err != nil {
		return err
	}
	refusal, err := c.look(answer)
	if err != nil {
		return err
	}
	rest, err := c.hashing.Begin(c.ctx)
	if err != nil {
		return err
	}
	c.takeTurn(rest)
	c.note(refusal) // before the library knows of it: then somebody asks why
	if err := writeExchange(library, answer); err != nil {
		return err
	}
	return refusal
}

// admit refuses what belongs to no first login.
func (c *centres) admit(request []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ticket messages.TGSReq
	isTicket := ticket.Unmarshal(request) == nil
	again := isTicket && types.IsFlagSet(&ticket.ReqBody.KDCOptions, flags.Renew) || !isTicket && c.loggedIn
	if c.exchanges++; again || c.exchanges > mostExchanges {
		return loginError{"the Kerberos realm lets a login go on and on"}
	}
	return nil
}

// askAny asks one centre after the other until one answers.
func (c *centres) askAny(request []byte, addresses []string) (answer []byte, err error) {
	for _, address := range addresses {
		if answer, err = c.ask(request, address); err == nil {
			return answer, nil
		}
	}
	return nil, err
}

func (c *centres) ask(request []byte, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.ctx, centreLimit)
	defer cancel()
	conn, err := c.dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("kdc %s: %w", address, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := writeExchange(conn, request); err != nil {
		return nil, c.lost(ctx, address)
	}
	answer, err := readExchange(conn)
	if err != nil && !errors.Is(err, errLongExchange) {
		return nil, c.lost(ctx, address)
	}
	if err != nil {
		return nil, fmt.Errorf("kdc %s: %w", address, err)
	}
	return answer, nil
}

func (c *centres) lost(ctx context.Context, address string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("kdc %s: %w", address, context.DeadlineExceeded)
	}
	return fmt.Errorf("kdc %s: %w", address, io.ErrUnexpectedEOF)
}

// look judges an answer before the library sees it. refusal is what it means to
// the user, unless the library asks again.
func (c *centres) look(answer []byte) (refusal, err error) {
	defer recovered(&err)
	var refused messages.KRBError
	if refused.Unmarshal(answer) == nil {
		var hints types.PADataSequence
		if len(refused.EData) > 0 && hints.Unmarshal(refused.EData) == nil {
			err = checkHashing(hints)
		}
		// Its own words are not told: whoever listens there may say anything.
		return loginError{"the Kerberos realm refuses: " + errorcode.Lookup(refused.ErrorCode)}, err
	}
	var login messages.ASRep
	if login.Unmarshal(answer) == nil {
		c.mu.Lock()
		c.loggedIn = true
		c.mu.Unlock()
		return nil, checkHashing(login.PAData)
	}
	return nil, nil
}

// checkHashing bounds how often a password is hashed into a key.
//
// Source: RFC 3962, section 4.
func checkHashing(hints types.PADataSequence) error {
	for _, hint := range hints {
		if hint.PADataType != patype.PA_ETYPE_INFO2 {
			continue
		}
		kinds, err := hint.GetETypeInfo2()
		if err != nil {
			return loginError{errMalformed.Error()}
		}
		for _, kind := range kinds {
			if n := len(kind.S2KParams); n == 0 {
				continue // the default
			} else if n != 4 || binary.BigEndian.Uint32(kind.S2KParams)-1 >= client.MostIterations {
				return errIterations("Kerberos realm")
			}
		}
	}
	return nil
}

var errLongExchange = fmt.Errorf("an answer has more than %d bytes", longestExchange)

// readExchange reads a request or an answer behind its length.
func readExchange(from io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > longestExchange {
		return nil, errLongExchange
	}
	content := make([]byte, n)
	_, err := io.ReadFull(from, content)
	return content, err
}

func writeExchange(to io.Writer, content []byte) error {
	_, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(content))), content...)) //nolint:gosec // it is bounded
	return err
}
