package e2e

import (
	"fmt"
	"testing"

	"google.golang.org/genproto/googleapis/api/metric"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

// google is Google Cloud as far as scenarios need it: who gives tokens, and Cloud
// Monitoring, which the family gcp is started with.
type google struct {
	issuer     *gcloud.Issuer
	monitoring *gcloud.Monitoring
}

func startGoogle(address string) (*google, error) {
	issuer, err := gcloud.StartIssuer(address)
	if err != nil {
		return nil, err
	}
	monitoring, err := gcloud.StartMonitoring(address, issuer)
	if err != nil {
		_ = issuer.Close()
		return nil, err
	}
	return &google{issuer, monitoring}, nil
}

// args are those of the family, as in a network where Google is reached by other
// addresses.
func (g *google) args(address string) []string {
	return []string{"--monitoring-endpoint=http://" + g.monitoring.Address(), "--identity-hosts=" + address}
}

func (g *google) close() {
	_ = g.monitoring.Close()
	_ = g.issuer.Close()
}

// undelivered has Cloud Monitoring say how many messages a subscription has.
func (g *google) undelivered(messages int64) {
	g.monitoring.Set(gcloud.Series{
		Project: "shop", Metric: "pubsub.googleapis.com/subscription/num_undelivered_messages", Kind: metric.MetricDescriptor_GAUGE,
		Resource: "pubsub_subscription", ID: map[string]string{"subscription_id": "orders"},
		Points: []gcloud.Point{{Value: gcloud.Int(messages)}},
	})
}

// TestPubSub has a subscription scale 0 -> N -> 0, with the key of a service account
// from a Secret. Cloud Monitoring is dead at N, where replicas stay, and comes back;
// then it has nothing to say, which is no zero.
func TestPubSub(t *testing.T) {
	t.Parallel()
	const reader = "reader@shop.iam.gserviceaccount.com"
	key, err := world.google.issuer.Key(reader, "shop")
	if err != nil {
		t.Fatal(err)
	}
	world.google.monitoring.Allow("shop", reader)
	world.google.undelivered(0)

	c := credentials{t, namespace(t)}
	c.secret("google", map[string]string{"GoogleApplicationCredentials": key})
	c.authentication("google", "GoogleApplicationCredentials")
	o := scale(t, c.namespace, "worker", 0, authenticated(brokers.Trigger{Type: "gcp-pubsub", Metadata: map[string]string{
		"subscriptionName": "orders", "mode": "NumUndeliveredMessages", "value": "5",
	}}, nil, authenticationRef("google")))
	o.grant()
	o.waitCondition("Ready", "True", "")
	o.waitCondition("Active", "False", "")
	world.google.undelivered(20)
	o.waitReplicas(4)
	if err := world.google.monitoring.Close(); err != nil {
		t.Fatal(err)
	}
	o.waitCondition("Ready", "False", "Google Cloud Monitoring")
	if have := o.replicas(); have != 4 {
		t.Errorf("%d replicas while nobody can tell, want 4", have)
	}
	if err := world.google.monitoring.Start(); err != nil {
		t.Fatal(err)
	}
	o.waitCondition("Ready", "True", "")
	if have := o.replicas(); have != 4 {
		t.Errorf("%d replicas with the source back, want 4", have)
	}
	world.google.monitoring.Set()
	o.wait("Ready without a series", func() (bool, string) {
		return o.condition("Ready")["status"] == "False", fmt.Sprint(o.describe())
	})
	if have := o.replicas(); have != 4 {
		t.Errorf("%d replicas without a series, want 4", have)
	}
	world.google.undelivered(0)
	o.waitReplicas(0)
	o.waitCondition("Ready", "True", "")
}
