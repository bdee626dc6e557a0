package main

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// natsJetStream scales on the messages of a JetStream stream that one consumer
// has yet to be given, or has been given and not acknowledged, as the server says
// that leads the consumer.
var natsJetStream = scaler.Define("nats-jetstream", openJetStream, rings)

// jetStreamParams is the metadata of a nats-jetstream trigger.
type jetStreamParams struct {
	monitoringParams
	clientParams

	// Stream is the stream.
	Stream string `param:"stream,required"`
	// Consumer is a consumer of the stream. It has to be a durable one: an
	// ephemeral one goes with its Pods, and a consumer that does not exist is an
	// error.
	Consumer string `param:"consumer,required"`
	// LagThreshold is how many messages one replica works off.
	LagThreshold int64 `param:"lagThreshold" default:"10" role:"target" unit:"messages"`
	// ActivationLagThreshold is how many messages are too few to start for.
	ActivationLagThreshold int64 `param:"activationLagThreshold" default:"0" role:"activation" unit:"messages"`
}

// monitoringParams say where the numbers are.
type monitoringParams struct {
	// Endpoint is host:port of the monitoring port of a server, or of a Service
	// in front of a cluster's. It is not the port that clients connect to.
	Endpoint string `param:"natsServerMonitoringEndpoint,required" from:"auth,trigger"`
	// Account is the name of the account that the stream belongs to.
	Account string `param:"account" from:"auth,trigger"`
	// AccountID is the account's id, where that is not its name. One of both is
	// required.
	AccountID string `param:"accountID" from:"auth,trigger"`
	// UseHTTPS asks over TLS.
	UseHTTPS bool `param:"useHttps" default:"false"`
}

// Validate checks what parameters ask of each other.
func (p monitoringParams) Validate() error {
	var problems []error
	if p.Account == "" && p.AccountID == "" {
		problems = append(problems, errors.New("account: no account name or id: give account or accountID"))
	}
	_, err := p.base()
	return errors.Join(append(problems, err)...)
}

var (
	errScheme   = errors.New("natsServerMonitoringEndpoint: begins with a scheme; give host:port alone, and useHttps for TLS")
	errEndpoint = errors.New("natsServerMonitoringEndpoint: is not host:port")
)

// base is the URL of the endpoint. What KEDA makes of a path works here, too.
func (p monitoringParams) base() (*url.URL, error) {
	if strings.Contains(p.Endpoint, "://") {
		return nil, errScheme
	}
	scheme := "http"
	if p.UseHTTPS {
		scheme = "https"
	}
	u, err := url.Parse(scheme + "://" + strings.TrimSuffix(p.Endpoint, "/"))
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return nil, errEndpoint
	}
	return u, nil
}

// id is what the account is asked for by.
func (p monitoringParams) id() string { return cmp.Or(p.AccountID, p.Account) }

// clientPort is where clients connect to, unless a server says otherwise.
const clientPort = "4222"

// Warnings tell what may be a mistake and is none for sure.
func (p monitoringParams) Warnings() []string {
	base, err := p.base()
	if err != nil {
		return nil
	}
	var warnings []string
	if base.Port() == clientPort {
		warnings = append(warnings, "natsServerMonitoringEndpoint: 4222 is usually the port of clients; the monitoring port, usually 8222, is needed")
	}
	if base.Path != "" {
		warnings = append(warnings, "natsServerMonitoringEndpoint: has a path, which monitoring ports do not have; other servers of a cluster are asked under it, too")
	}
	return warnings
}

// Warnings are those of both ends.
func (p jetStreamParams) Warnings() []string {
	return append(p.monitoringParams.Warnings(), p.clientParams.Warnings()...)
}

// Name is that of the stream, as in KEDA: consumers of one stream have equal
// names.
func (p jetStreamParams) Name() string { return scaler.MetricName("nats-jetstream", p.Stream) }

// openJetStream connects to nothing yet: the first read does.
func openJetStream(ctx context.Context, p jetStreamParams) (scaler.Source, error) {
	a, err := shareAccount(ctx, p.monitoringParams)
	if err != nil {
		return nil, err
	}
	d, err := shareDoorbell(ctx, p.clientParams)
	if err != nil {
		return nil, err
	}
	return scaler.Join(a, &consumerSource{account: a, doorbell: d, held: heard.Of(ctx), stream: p.Stream, consumer: p.Consumer}), nil
}
