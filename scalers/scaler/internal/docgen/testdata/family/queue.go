package main

// queue scales on the backlog
// of one queue. More about it is not its purpose.
var queue = scaler.Define("queue", openQueue, scaler.Scheduled())

var (
	// push scales on what is announced.
	push = scaler.Define[queueParams]("queue-push", openAny())

	// stream scales on what is left of a stream.
	stream = scaler.Define("stream", func(ctx context.Context, p streamParams) (scaler.Source, error) { return nil, nil })
)

// queueParams is the metadata of a queue trigger.
type queueParams struct {
	place
	// URL locates the queue.
	URL string `param:"url,required"`
	// Length is the target: messages per replica,
	// with "quotes".
	//
	// A second paragraph is for whoever reads the code.
	Length float64 `param:"length" role:"target"`
	// notes is no parameter.
	notes string
}

// place says where.
type place struct {
	// The region.
	Region string `param:"region"`
}

type streamParams struct{ place }

func openQueue(_ context.Context, p queueParams) (scaler.Source, error) { return nil, nil }
