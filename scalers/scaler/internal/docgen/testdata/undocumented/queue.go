package main

var queue = scaler.Define("queue", openQueue)

type queueParams struct {
	URL string `param:"url,required"`
}

func openQueue(_ context.Context, p queueParams) (scaler.Source, error) { return nil, nil }
