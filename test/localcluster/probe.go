package localcluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// startupProbing is how often a program is asked before it is ready for the
// first time; afterwards its manifest says how often.
const startupProbing = 100 * time.Millisecond

// probe asks the program whether it is ready, by the rules of its manifest.
// Without a readiness probe it is ready once it runs.
func (i *Instance) probe(ctx context.Context) {
	container := &i.pod.Spec.Containers[0]
	probe := container.ReadinessProbe
	if probe == nil {
		i.setReady(ctx, true)
		return
	}
	period := orDefault(probe.PeriodSeconds, 10)
	timeout := orDefault(probe.TimeoutSeconds, 1)
	failures := 0
	for wait := startupProbing; ; {
		asking, cancel := context.WithTimeout(ctx, timeout)
		err := i.ask(asking, container, &probe.ProbeHandler)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
			i.setReady(ctx, true)
			wait = period
		default:
			if failures++; failures >= int(max(1, probe.FailureThreshold)) {
				i.setReady(ctx, false)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func orDefault(seconds int32, fallback int) time.Duration {
	if seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return time.Duration(fallback) * time.Second
}

func (i *Instance) ask(ctx context.Context, container *corev1.Container, handler *corev1.ProbeHandler) error {
	switch {
	case handler.HTTPGet != nil:
		return i.askHTTP(ctx, container, handler.HTTPGet)
	case handler.GRPC != nil:
		return i.askGRPC(ctx, handler.GRPC)
	case handler.TCPSocket != nil:
		port, err := containerPort(container, handler.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := i.box.dial(ctx, "tcp", i.at(port))
		if err != nil {
			return err
		}
		return conn.Close()
	default:
		return errors.New("readiness probe: only httpGet, grpc and tcpSocket are supported")
	}
}

func (i *Instance) at(port int32) string {
	return net.JoinHostPort(i.box.address().String(), strconv.Itoa(int(port)))
}

func (i *Instance) askHTTP(ctx context.Context, container *corev1.Container, action *corev1.HTTPGetAction) error {
	port, err := containerPort(container, action.Port)
	if err != nil {
		return err
	}
	scheme := "http"
	if action.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext:       i.box.dial,
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // kubelets do not check either
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+i.at(port)+action.Path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return errors.New(response.Status)
	}
	return nil
}

func (i *Instance) askGRPC(ctx context.Context, action *corev1.GRPCAction) error {
	conn, err := grpc.NewClient("passthrough:///"+i.at(action.Port),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return i.box.dial(ctx, "tcp", address)
		}))
	if err != nil {
		return err
	}
	defer conn.Close()
	var service string
	if action.Service != nil {
		service = *action.Service
	}
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return err
	}
	if answer.Status != healthpb.HealthCheckResponse_SERVING {
		return errors.New(answer.Status.String())
	}
	return nil
}

// containerPort resolves a port that may be given by name.
func containerPort(container *corev1.Container, port intstr.IntOrString) (int32, error) {
	if port.Type == intstr.Int {
		return port.IntVal, nil
	}
	for _, candidate := range container.Ports {
		if candidate.Name == port.StrVal {
			return candidate.ContainerPort, nil
		}
	}
	return 0, fmt.Errorf("container %s has no port named %q", container.Name, port.StrVal)
}
