package localcluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// ControllerManagerMetrics returns what kube-controller-manager measures of
// itself, by metric name: the HPA controller's syncs, for example, are
// "horizontal_pod_autoscaler_controller_reconciliations_total".
func (c *Cluster) ControllerManagerMetrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	return c.scrape(ctx, c.plane.url("https", c.plane.ports.controllerManager)+"/metrics")
}

// InstanceMetrics returns the Prometheus metrics of an instance: those at
// /metrics of its port of that name ("metrics").
func (c *Cluster) InstanceMetrics(ctx context.Context, i *Instance, port string) (map[string]*dto.MetricFamily, error) {
	address := i.Address()
	if address == "" {
		return nil, fmt.Errorf("%s has no address yet", i.Name())
	}
	for _, candidate := range i.pod.Spec.Containers[0].Ports {
		if candidate.Name == port {
			return c.scrape(ctx, "http://"+net.JoinHostPort(address, strconv.Itoa(int(candidate.ContainerPort)))+"/metrics")
		}
	}
	return nil, fmt.Errorf("%s has no port named %q", i.Name(), port)
}

func (c *Cluster) scrape(ctx context.Context, url string) (map[string]*dto.MetricFamily, error) {
	httpClient, err := c.plane.httpClient()
	if err != nil {
		return nil, err
	}
	defer httpClient.CloseIdleConnections()
	var body bytes.Buffer
	if err := get(ctx, httpClient, url, &body); err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(&body)
}
