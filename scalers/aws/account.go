package main

import (
	"context"
	"errors"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
)

// onAccount makes the requests of a client on an account: each attempt is one. A
// service that says when it wants to be asked again is not asked before; else the
// library tries again by itself, which is enough where many came at once.
func onAccount(account *client.Account) func(*middleware.Stack) error {
	attempt := middleware.FinalizeMiddlewareFunc("OnAccount", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
		middleware.FinalizeOutput, middleware.Metadata, error,
	) {
		if err := account.Take(ctx); err != nil {
			return middleware.FinalizeOutput{}, middleware.Metadata{}, err
		}
		out, metadata, err := next.HandleFinalize(ctx, in)
		var answered *smithyhttp.ResponseError
		switch t := throttled(ctx, err); {
		case t != nil && t.Pause > 0:
			err = account.Throttled(t.Pause, t.Said)
		case t == nil && (err == nil || errors.As(err, &answered)):
			account.Answered()
		}
		return out, metadata, err
	})
	return func(stack *middleware.Stack) error { return stack.Finalize.Insert(attempt, "Retry", middleware.After) }
}

// throttled is amazon.Throttled of an attempt, which does not tell its call yet.
func throttled(ctx context.Context, err error) *client.Throttling {
	if err == nil {
		return nil
	}
	return amazon.Throttled(&smithy.OperationError{
		ServiceID: awsmiddleware.GetServiceID(ctx), OperationName: awsmiddleware.GetOperationName(ctx), Err: err,
	})
}
