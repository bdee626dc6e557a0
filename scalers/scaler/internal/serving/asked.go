package serving

import (
	"context"
	"maps"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// asked is a subscription that a client made by asking, without a Watch: KEDA,
// grpcurl, or an adapter whose controller is not subscribed yet. It is sampled
// like any other for a while after the last question, so that repeated ones
// share a snapshot.
type asked struct {
	sub    *subscription
	expiry *time.Timer
}

// find returns the subscription that answers a request.
func (c *core) find(ctx context.Context, req trigger.Request) (*subscription, error) {
	if req.ByReference() {
		return c.registered(ctx, req)
	}
	t, err := c.trigger(ctx, req)
	if err != nil {
		return nil, err
	}
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(req.Ref)
	if err != nil {
		return nil, err
	}
	return c.ask(ctx, t, req, t.Type+"\x00"+string(key))
}

// ask finds or makes the subscription for a key.
func (c *core) ask(ctx context.Context, t trigger.Trigger, req trigger.Request, key string) (*subscription, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.asked[key]; a != nil {
		a.expiry.Reset(sampling.KeepFor)
		return a.sub, nil
	}
	if most := mostOf(ctx); len(c.asked) >= most {
		return nil, status.Errorf(codes.ResourceExhausted, "%d triggers were asked for without a stream within %v, as many as may be", most, sampling.KeepFor)
	}
	// It outlives the request that made it, and ends with its expiry.
	sub, err := c.subscribe(context.WithoutCancel(ctx), t, req, wishOf(req), func() {})
	if err != nil {
		return nil, failure.Status(t.Type, err).Err()
	}
	a := &asked{sub: sub}
	a.expiry = time.AfterFunc(sampling.KeepFor, func() { c.forget(key, a) })
	c.asked[key] = a
	c.metrics.Subscriptions(t.Type, 1)
	return sub, nil
}

func (c *core) forget(key string, a *asked) {
	c.mu.Lock()
	if c.asked[key] != a {
		c.mu.Unlock()
		return
	}
	delete(c.asked, key)
	c.metrics.Subscriptions(a.sub.trigger.Type, -1)
	c.mu.Unlock()
	a.expiry.Stop()
	a.sub.close()
}

// forgetAll ends what clients asked; at shutdown.
func (c *core) forgetAll() {
	c.mu.Lock()
	all := maps.Clone(c.asked)
	c.mu.Unlock()
	for key, a := range all {
		c.forget(key, a)
	}
}

// wishOf is how a trigger is sampled whose client does not say: as often as KEDA
// would read it.
func wishOf(r trigger.Request) sampling.Wish {
	f, _ := r.Facts()
	w := sampling.Wish{Interval: f.Object.PollingInterval, Idle: r.Ref.GetScalerMetadata()[scalerv1.KeyMode] == scalerv1.ModeIdle}
	if !w.Idle && !f.UseCachedMetrics {
		w.Interval = min(w.Interval, scalerv1.SyncPeriod)
	}
	if !w.Idle {
		w.Doorbell = scalerv1.Doorbell_DOORBELL_OFF
	}
	return w
}

// authority is the host that the client called, as far as it says.
func authority(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get(":authority"); len(values) > 0 {
		return values[0]
	}
	return ""
}
