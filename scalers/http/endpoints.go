package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube"
)

// role is the ClusterRole of this family.
const role = "sluice-scaler-http"

// service is a Service that a URL names.
type service struct{ namespace, name string }

// serviceOf takes the Service out of a host such as shop.orders.svc.
func serviceOf(address *url.URL) (service, error) {
	labels := strings.Split(address.Hostname(), ".")
	if len(labels) < 2 || labels[0] == "" || labels[1] == "" || net.ParseIP(address.Hostname()) != nil {
		return service{}, errors.New("url: has no host like service.namespace, which aggregateFromKubeServiceEndpoints needs")
	}
	return service{namespace: labels[1], name: labels[0]}, nil
}

// port is a named port of a Service or a slice.
type port struct {
	name   string
	number int
}

// slice is what is needed of an EndpointSlice.
type slice struct {
	ports     []port
	endpoints []endpoint
}

// endpoint is a Pod, or what stands in for one.
type endpoint struct {
	id      string // equal for the addresses of one Pod
	address string
}

// slices and services are watched for each Service that somebody aggregates.
var (
	endpointSlices = kube.Kind[*discoveryv1.EndpointSlice, slice]{
		Group: discoveryv1.SchemeGroupVersion, Resource: "endpointslices", Role: role, Keep: keepSlice, Size: sizeOfSlice,
	}
	services = kube.Kind[*corev1.Service, []port]{
		Group: corev1.SchemeGroupVersion, Resource: "services", Role: role,
		Size: sizeOfPorts,
		Keep: func(s *corev1.Service) []port {
			var ports []port
			for _, p := range s.Spec.Ports {
				ports = append(ports, port{p.Name, int(p.Port)})
			}
			return ports
		},
	}
)

// keepSlice leaves out endpoints that say of themselves that they are not ready.
func keepSlice(s *discoveryv1.EndpointSlice) slice {
	var kept slice
	for _, p := range s.Ports {
		if p.Port != nil {
			kept.ports = append(kept.ports, port{value(p.Name), int(*p.Port)})
		}
	}
	for _, e := range s.Endpoints {
		if e.Conditions.Ready != nil && !*e.Conditions.Ready {
			continue
		}
		for _, address := range e.Addresses {
			id := address
			if e.TargetRef != nil {
				id = e.TargetRef.Kind + " " + e.TargetRef.Name
			}
			kept.endpoints = append(kept.endpoints, endpoint{id, address})
		}
	}
	return kept
}

// sizeOfPorts and sizeOfSlice count texts, and what holds them.
func sizeOfPorts(ports []port) (bytes int) {
	for _, p := range ports {
		bytes += 32 + len(p.name)
	}
	return bytes
}

func sizeOfSlice(s slice) int {
	bytes := sizeOfPorts(s.ports)
	for _, e := range s.endpoints {
		bytes += 32 + len(e.id) + len(e.address)
	}
	return bytes
}

func value(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// endpoints are the Pods behind one Service.
type endpoints struct {
	url      *url.URL
	service  service
	slices   *kube.View[slice]
	services *kube.View[[]port]
}

func watchEndpoints(ctx context.Context, text string) (*endpoints, error) {
	address, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	of, err := serviceOf(address)
	if err != nil {
		return nil, err
	}
	e := &endpoints{url: address, service: of}
	// The selector is the Service's name: without it every slice of the
	// namespace would count.
	e.slices, err = endpointSlices.Watch(ctx, kube.Selection{
		Namespace: of.namespace, Labels: discoveryv1.LabelServiceName + "=" + of.name,
	})
	if err != nil {
		return nil, err
	}
	e.services, err = services.Watch(ctx, kube.Selection{Namespace: of.namespace, Name: of.name})
	return e, err
}

// mostEndpoints bounds the endpoints of a Service that are asked.
const mostEndpoints = 1000

// addresses are those of all endpoints with their ports, one for each Pod.
func (e *endpoints) addresses(ctx context.Context) ([]string, error) {
	var exposed []port
	if err := e.services.Visit(ctx, func(_ string, ports []port) { exposed = ports }); err != nil {
		return nil, err
	}
	found := map[string]string{} // address with port, by endpoint
	err := e.slices.Visit(ctx, func(_ string, s slice) {
		number := e.portOf(s, exposed)
		for _, one := range s.endpoints {
			address := net.JoinHostPort(one.address, strconv.Itoa(number))
			found[one.id] = preferred(found[one.id], address)
		}
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, scaler.Errorf(codes.NotFound, "Service %s/%s has no endpoint that is ready", e.service.namespace, e.service.name)
	}
	if len(found) > mostEndpoints {
		return nil, scaler.Errorf(codes.FailedPrecondition, "Service %s/%s has %d endpoints, more than %d are not asked", e.service.namespace, e.service.name, len(found), mostEndpoints)
	}
	return slices.Sorted(maps.Values(found)), nil
}

// preferred chooses between two addresses of one Pod, IPv4 before IPv6, so that
// a Pod with both counts once.
func preferred(a, b string) string {
	byFamily := func(x, y string) int {
		return cmp.Or(strings.Count(x, ":")-strings.Count(y, ":"), cmp.Compare(x, y))
	}
	if a == "" || byFamily(b, a) < 0 {
		return b
	}
	return a
}

// portOf is where the Pods of a slice listen: behind the Service's port that
// the URL means, else at the URL's port itself.
func (e *endpoints) portOf(s slice, exposed []port) int {
	meant := map[string]int{"http": 80, "https": 443}[e.url.Scheme]
	if explicit, err := strconv.Atoi(e.url.Port()); err == nil {
		meant = explicit
	}
	for _, outer := range exposed {
		for _, inner := range s.ports {
			if outer.number == meant && outer.name == inner.name {
				return inner.number
			}
		}
	}
	return meant
}
