package client

import (
	"cmp"
	"errors"
	"flag"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
)

// What a server may send where neither the family nor a flag says otherwise.
const (
	usualReadBytes   = 16 << 20
	usualSecondBytes = 128 << 20
)

// Guard bounds what the servers of a source may send over the connections of a
// Dialer. A client library takes what it is told: the length in front of an
// answer decides how much memory it asks for, and where it does so on a
// goroutine of its own, nobody can catch it. So a family whose client speaks a
// protocol with lengths looks at them first:
//
//	dialer := client.DialerOf(ctx).Guarded(client.Guard{
//		ReadBytes: 4 << 20,
//		Protocol:  func() client.Checker { return new(frames) },
//	})
//	conn, err := dialer.DialContext(ctx, "tcp", address)
//
// A connection whose server does not keep to it is closed. Each of its calls
// fails with a *PeerError from then on, which has words for the user and a gRPC
// code; clients that drop the errors of their connections are told by
// Dialer.Refusal.
type Guard struct {
	// ReadBytes is the most that arrives, over all connections of the endpoint,
	// for the reads of it that are under way; 0 is 16 MiB. What arrives while
	// nobody reads, such as the messages of a doorbell, does not count. A read is
	// one Read, ReadBatch, Open or dial of Shared, and the endpoint is what one
	// call of Shared, or of Open, dials.
	ReadBytes int64
	// SecondBytes is the most that one connection receives within a second; 0 is
	// 128 MiB.
	SecondBytes int64
	// Protocol makes the checker of a new connection, or is nil. With DialTLS it
	// sees what TLS has decrypted, else the connection's own bytes: a client
	// that starts TLS by itself has to be given a Dialer without.
	Protocol func() Checker
}

// Checker sees what a server sends on one connection before the client does.
type Checker = wire.Checker

// PeerError is the error about a server that sent what it may not.
type PeerError = wire.PeerError

// Guarded returns a dialer to the same hosts whose connections are bounded by
// g. The flags --max-read-bytes and --max-bytes-per-second come before what g
// says.
func (d *Dialer) Guarded(g Guard) *Dialer {
	guarded := *d
	guarded.guard = g
	return &guarded
}

// Refusal is the *PeerError of the endpoint since the reads that are under way
// began, nil for none.
func (d *Dialer) Refusal() error {
	if d.meter == nil {
		return nil
	}
	return d.meter.Refusal()
}

// Decoded counts memory that a client takes to decode an answer, beside the
// answer itself, in what the servers of all reads may take together. The error is
// why the connection has to end, as for bytes.
func (d *Dialer) Decoded(n int) error {
	if d.meter == nil {
		return nil
	}
	return d.meter.Made(n)
}

// Holding counts what answers take that a connection keeps until they are whole.
// That of Decoded ends with the read; this is there until it is said to be less,
// and only ever closes the connection.
func (d *Dialer) Holding(change int) {
	if d.meter != nil {
		d.meter.Hold(change)
	}
}

// Reading has what comes until done is called counted as that of a read, where a
// source asks beside its Reads.
func (d *Dialer) Reading() (done func()) {
	if d.meter == nil {
		return func() {}
	}
	d.meter.Begin()
	return d.meter.End
}

func (g Guard) limits() wire.Limits {
	return wire.Limits{
		Read:   cmp.Or(maxReadBytes.Load(), g.ReadBytes, usualReadBytes),
		Second: cmp.Or(maxSecondBytes.Load(), g.SecondBytes, usualSecondBytes),
	}
}

// maxReadBytes and maxSecondBytes are the process's flags, 0 for none.
var maxReadBytes, maxSecondBytes atomic.Int64

// guardFlags adds the flags on what servers may send.
func guardFlags(flags *flag.FlagSet) {
	flags.Func("max-read-bytes", "the most that a server may send for one read of a source, such as 32Mi (default the family's own, see docs/families.md)",
		bytesFlag(maxReadBytes.Store))
	flags.Func("max-bytes-per-second", "the most that a server may send over one connection within a second (default 128Mi)",
		bytesFlag(maxSecondBytes.Store))
	flags.Func("connection-memory", "the memory that connections to sources, and watches, may take together by what is known of each kind; those of one namespace half of it (default half of the container's limit)",
		bytesFlag(pool.LimitMemory))
	flags.Func("answer-memory", "the memory that answers over HTTP, and the documents made of them, may take together; half of the container's limit (default 128Mi)",
		bytesFlag(budget.Set))
}

func bytesFlag(set func(int64)) func(string) error {
	return func(text string) error {
		q, err := resource.ParseQuantity(text)
		if err != nil {
			return errors.New("is not a number of bytes, such as 32Mi")
		}
		if q.Sign() <= 0 || q.Value() <= 0 {
			return errors.New("must be greater than 0")
		}
		set(q.Value())
		return nil
	}
}
