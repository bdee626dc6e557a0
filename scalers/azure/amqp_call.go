package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/go-amqp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// caller sends requests to one node of the server, and hands the answers to whom
// they are for.
type caller struct {
	sender   *amqp.Sender
	receiver *amqp.Receiver
	reply    string
	allowed  *allowance
	places   chan struct{}
	left     func() // gives back its place in a session

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan *amqp.Message
	ended   chan struct{}
	err     error
}

// callers tells the addresses of replies apart.
var callers atomic.Uint64

// open opens both links to a node. What receives ends with the connection.
func (c *hubConn) open(ctx context.Context, node string) (*caller, error) {
	k := &caller{
		reply: fmt.Sprintf("sluice-reply-%d", callers.Add(1)), allowed: c.allowed,
		places: make(chan struct{}, mostAsked), waiting: map[uint64]chan *amqp.Message{}, ended: make(chan struct{}),
	}
	c.allowed.grant()
	session, err := c.session(ctx)
	if err != nil {
		return nil, err
	}
	k.left = func() { c.free(session) }
	if k.sender, err = session.NewSender(ctx, node, nil); err != nil {
		k.left()
		return nil, err
	}
	k.receiver, err = session.NewReceiver(ctx, node, &amqp.ReceiverOptions{
		TargetAddress: k.reply, Credit: 2 * mostAsked, MaxMessageSize: mostReply,
		SettlementMode: amqp.ReceiverSettleModeFirst.Ptr(), RequestedSenderSettleMode: amqp.SenderSettleModeSettled.Ptr(),
	})
	if err != nil {
		c.running.Go(func() { k.close() }) //nolint:contextcheck // it may outlast the request
		return nil, err
	}
	c.running.Go(func() {
		k.end(scaler.Safely("hearing "+node, k.receive))
	})
	return k, nil
}

// receive hands over answers until the link or the connection ends.
func (k *caller) receive() error {
	for {
		message, err := k.receiver.Receive(context.Background(), nil)
		if err != nil {
			return err
		}
		if message.Properties == nil {
			continue
		}
		id, _ := message.Properties.CorrelationID.(uint64)
		k.mu.Lock()
		if waiting := k.waiting[id]; waiting != nil {
			delete(k.waiting, id)
			waiting <- message
		}
		k.mu.Unlock()
	}
}

// closeWithin is how long a server may take to let a link go.
const closeWithin = time.Second

// close lets go of both links, or of the one that there is.
func (k *caller) close() {
	defer k.left()
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	k.allowed.grant()                                    // for the server's part of it
	_ = scaler.Safely("closing "+k.reply, func() error { // nothing is left to do about a failure
		_ = k.sender.Close(ctx)
		if k.receiver != nil {
			_ = k.receiver.Close(ctx)
		}
		return nil
	})
}

func (k *caller) end(err error) {
	k.mu.Lock()
	k.err = err
	k.mu.Unlock()
	close(k.ended)
}

// refusal is an answer that is none: what the server says about a request.
type refusal struct {
	code int
	err  error
}

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

// GRPCStatus gives the error its code.
func (r *refusal) GRPCStatus() *status.Status { return status.Convert(r.err) }

// call sends a request and waits for its answer.
func (k *caller) call(ctx context.Context, message *amqp.Message) (*amqp.Message, error) {
	select {
	case k.places <- struct{}{}:
		defer func() { <-k.places }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answer := make(chan *amqp.Message, 1)
	k.mu.Lock()
	k.next++
	id := k.next
	k.waiting[id] = answer
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.waiting, id)
		k.mu.Unlock()
	}()
	message.Properties = &amqp.MessageProperties{MessageID: id, ReplyTo: &k.reply}
	k.allowed.grant()
	if err := k.sender.Send(ctx, message, nil); err != nil {
		return nil, err
	}
	select {
	case reply := <-answer:
		return reply, refused(reply)
	case <-k.ended:
		k.mu.Lock()
		defer k.mu.Unlock()
		return nil, k.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refused is what an answer says was wrong with the request.
func refused(reply *amqp.Message) error {
	code := 0
	for _, name := range []string{"status-code", "statusCode"} {
		switch n := reply.ApplicationProperties[name].(type) {
		case int32:
			code = int(n)
		case int64:
			code = int(n)
		}
	}
	if code >= 200 && code < 300 {
		return nil
	}
	switch code {
	case 401, 403:
		return &refusal{code, scaler.Errorf(codes.Unauthenticated, "the namespace refuses the login (%d): the key is not that of the connection string's policy, or that has no right to listen; an identity needs the role Azure Event Hubs Data Receiver", code)}
	case 404:
		return &refusal{code, scaler.Errorf(codes.NotFound, "does not exist in this namespace")}
	case 0:
		return &refusal{code, scaler.Errorf(codes.Unavailable, "the answer has no status")}
	default:
		return &refusal{code, scaler.Errorf(codes.Unavailable, "the namespace answers %d", code)}
	}
}
