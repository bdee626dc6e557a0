package main

// queueList scales on a queue.
var queueList = scaler.Define("queue", openQueue)

// queueSet is queueList of another server.
var queueSet = scaler.Define("queue-set", openSet)

type queueParams struct {
	// EnableTLS encrypts the connection.
	EnableTLS bool `param:"enableTLS"`
	// Mode is QueueLength or MessageRate.
	Mode string `param:"mode" enum:"QueueLength,MessageRate"`
	// QueueLength is the target, with mode QueueLength.
	QueueLength string `param:"queueLength"`
	// TLS is EnableTLS in other words than enableTLS.
	TLS string `param:"tls"`
}

func openQueue(_ context.Context, p queueParams) (scaler.Source, error) { return nil, nil }

type setParams struct{}

func openSet(_ context.Context, p setParams) (scaler.Source, error) { return nil, nil }
