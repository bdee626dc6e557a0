// Package e2e runs Sluice as its users do: the manifests of deploy/ on a real
// Kubernetes control plane, with real brokers, every process under its own
// ServiceAccount.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// world is what all scenarios share.
var world struct {
	cluster  *localcluster.Cluster
	kafka    *servers.KafkaServer
	rabbitmq *servers.RabbitMQServer
	// collector is where OpenTelemetry's figures and traces go.
	collector *collector
	// google is what the family gcp asks.
	google *google
	// scraper is the Prometheus that is there while everything else fails.
	scraper *scraper
}

func TestMain(m *testing.M) {
	if err := localcluster.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: enter a network of our own:", err)
		os.Exit(1)
	}
	code := 1
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	} else {
		code = m.Run()
		if err := errors.Join(checkIdentities(), checkRights(), checkLogs(), checkEvents()); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			code = 1
		}
	}
	if err := tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// setUp starts control plane and brokers side by side, then what we ship.
func setUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cluster, err := localcluster.Start(ctx, localcluster.Options{Keep: os.Getenv("KEEP") != ""})
	if err != nil {
		return err
	}
	world.cluster = cluster
	if world.collector, err = startCollector(cluster.Address()); err != nil {
		return err
	}
	if world.google, err = startGoogle(cluster.Address()); err != nil {
		return err
	}
	started := make(chan error, 2)
	go func() {
		var err error
		world.kafka, err = servers.StartKafka(ctx, servers.KafkaOptions{
			Address: cluster.Address(), Users: kafkaUsers, TLS: true, ClientAuth: true,
			// Who is logged in is asked again, so that a password that
			// changed shows.
			Properties: map[string]string{"connections.max.reauth.ms": "3000"},
		})
		started <- err
	}()
	go func() {
		var err error
		world.rabbitmq, err = servers.StartRabbitMQ(ctx, servers.RabbitMQOptions{Address: cluster.Address(), TLS: true})
		started <- err
	}()
	if world.scraper, err = startScraper(cluster); err != nil {
		return err
	}
	return errors.Join(
		cluster.TrustWebhookClients(ctx, "sluice-system", "webhook-client-ca"),
		cluster.Install(ctx, localcluster.Installation{Overlay: "test/e2e/testdata/installation", Args: coreArgs(), Env: coreEnv()}),
		<-started, <-started,
	)
}

// coreArgs are the flags that all scenarios need.
func coreArgs() map[string][]string {
	return map[string][]string{
		// For the scaler of a third party, which has no key.
		"controller":      {"--plaintext-scalers", "--ca-overlap=5s", "--enable-opentelemetry-metrics"},
		"metrics-adapter": {"--plaintext-scalers"},
		"scaler-gcp":      world.google.args(world.cluster.Address()),
	}
}

// coreEnv are the variables that all scenarios need.
func coreEnv() map[string][]corev1.EnvVar {
	sending := []corev1.EnvVar{
		{Name: "OTEL_TRACES_EXPORTER", Value: "otlp"},
		{Name: "OTEL_EXPORTER_OTLP_ENDPOINT", Value: world.collector.url},
		{Name: "OTEL_BSP_SCHEDULE_DELAY", Value: "500"},
		{Name: "OTEL_METRIC_EXPORT_INTERVAL", Value: "5000"},
	}
	return map[string][]corev1.EnvVar{"controller": sending, "scaler-external": sending}
}

// checkIdentities proves from the API server's audit log that no process that
// we ship used a token but its own, in all that the tests made it do.
func checkIdentities() error {
	requests, err := world.cluster.CheckIdentities()
	if err != nil {
		return err
	}
	for _, component := range []string{"controller", "metrics-adapter"} {
		if requests["system:serviceaccount:sluice-system:"+component] == 0 {
			return fmt.Errorf("%s made no request: there was nothing to check", component)
		}
	}
	return nil
}

func tearDown() error {
	var errs []error
	if world.kafka != nil {
		errs = append(errs, world.kafka.Close())
	}
	if world.rabbitmq != nil {
		errs = append(errs, world.rabbitmq.Close())
	}
	if world.collector != nil {
		errs = append(errs, world.collector.close())
	}
	if world.google != nil {
		world.google.close()
	}
	if world.scraper != nil {
		world.scraper.close()
	}
	if world.cluster != nil {
		errs = append(errs, world.cluster.Stop())
	}
	return errors.Join(errs...)
}
