package scaler_test

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// backlogs stands for a server with queues.
var backlogs = map[string]float64{"orders": 12, "mails": 3}

// queueParams is the metadata of a trigger. A family's main.go lists the type
// that Define makes of it.
type queueParams struct {
	// Queue is the queue's name.
	Queue string `param:"queue,required"`
	// Length is how many messages one replica works off.
	Length float64 `param:"length" default:"5" role:"target"`
	// Activation is how many messages are too few to start for.
	Activation float64 `param:"activation" default:"0" role:"activation"`
}

func (p queueParams) Name() string { return scaler.MetricName("queue", p.Queue) }

// Validate is for rules that tags do not have.
func (p queueParams) Validate() error {
	if p.Activation > p.Length {
		return errors.New("activation: is greater than length")
	}
	return nil
}

// queueSource reads one queue.
type queueSource struct{ name string }

func (s queueSource) Read(context.Context) ([]scaler.Reading, error) {
	waiting, known := backlogs[s.name]
	if !known {
		return nil, scaler.Errorf(codes.NotFound, "queue %q does not exist", s.name)
	}
	return scaler.One(waiting), nil
}

// A trigger type whose source is polled. What a family's process does with it,
// the example does by hand: it binds a trigger, opens its source and reads it.
func ExampleDefine() {
	queue := scaler.Define("queue", func(_ context.Context, p queueParams) (scaler.Source, error) {
		return queueSource{p.Queue}, nil
	})

	ctx, release := scaler.Opening(context.Background())
	defer release()
	for _, metadata := range []map[string]string{
		{"queue": "orders", "length": "6"}, {"queue": "invoices"}, {"length": "few"},
	} {
		bound, err := queue.Bind(&externalscaler.ScaledObjectRef{ScalerMetadata: metadata}, nil)
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		source, err := bound.Open(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		readings, err := source.Read(ctx)
		if err != nil {
			fmt.Println("failed:", err)
			continue
		}
		fmt.Printf("%s: %v of %v\n", bound.Metrics[0].Name, readings[0].Value, bound.Metrics[0].Target)
	}
	// Output:
	// queue-orders: 12 of 6
	// failed: queue "invoices" does not exist
	// refused: rpc error: code = InvalidArgument desc = queue: queue: is required (looked in metadata); length: "few" is not a number
}

// server is a connection that all sources of one server share. It reads them in
// one request, and hears of messages as they arrive.
type server struct {
	arrivals chan string // names of queues
	doorbell *client.SharedDoorbell
}

// connect is the dial of client.Shared.
func connect(ctx context.Context) (*server, error) {
	return &server{arrivals: make(chan string, 1), doorbell: client.NewSharedDoorbell(ctx)}, nil
}

func (s *server) Close() error {
	s.doorbell.Close()
	return nil
}

// ReadBatch answers for each member by itself.
func (s *server) ReadBatch(_ context.Context, members []scaler.Source, answer func(int, scaler.Result)) error {
	fmt.Println("one request for", len(members))
	for i, member := range members {
		readings := scaler.One(backlogs[member.(*sharedQueue).name])
		answer(i, scaler.Result{Readings: readings})
	}
	return nil
}

// hear listens for all who listen at the server.
func (s *server) hear(ctx context.Context, listeners *client.Listeners) error {
	listeners.Listening(listeners.Topics())
	for {
		select {
		case queue := <-s.arrivals:
			listeners.Ring(queue)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sharedQueue is one queue of a server. Member makes its Read a batch of one.
type sharedQueue struct {
	scaler.Member
	server *server
	name   string
}

// Listen makes it a Ringer: a ring has the queue read at once.
func (q *sharedQueue) Listen(ctx context.Context, listening, ring func()) error {
	return q.server.doorbell.Listen(ctx, "messages", q.name, q.server.hear, listening, ring)
}

// A trigger type whose sources share a connection, are read together and ring.
func ExampleJoin() {
	queue := scaler.Define("queue", func(ctx context.Context, p queueParams) (scaler.Source, error) {
		s, err := client.Shared(ctx, "the server", connect)
		if err != nil {
			return nil, err
		}
		return scaler.Join(s, &sharedQueue{server: s, name: p.Queue}), nil
	}, scaler.RingsAt("one subscription for each server"))

	ctx, release := scaler.Opening(context.Background())
	defer release()
	var sources []scaler.Source
	for _, name := range []string{"orders", "mails"} {
		bound, err := queue.Bind(&externalscaler.ScaledObjectRef{ScalerMetadata: map[string]string{"queue": name}}, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		source, err := bound.Open(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		sources = append(sources, source)
	}
	orders := sources[0].(*sharedQueue)
	for _, result := range scaler.ReadTogether(ctx, orders.Batch(), sources...) {
		fmt.Println(result.Readings[0].Value)
	}

	listening, stop := context.WithCancel(ctx)
	rung, ended := make(chan struct{}), make(chan error)
	go func() {
		ended <- orders.Listen(listening, func() { orders.server.arrivals <- "orders" }, func() { close(rung) })
	}()
	<-rung
	fmt.Println("orders rings")
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		fmt.Println(err)
	}
	// Output:
	// one request for 2
	// 12
	// 3
	// orders rings
}
