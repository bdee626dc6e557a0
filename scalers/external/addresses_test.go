package main

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/serviceconfig"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// told is a client of gRPC as a resolver sees it.
type told struct {
	resolver.ClientConn
	state resolver.State
}

func (c *told) UpdateState(state resolver.State) error {
	c.state = state
	return nil
}

func (*told) ParseServiceConfig(string) *serviceconfig.ParseResult { return nil }

// TestNamesWithThousandsOfAddresses: gRPC would connect to all of them.
func TestNamesWithThousandsOfAddresses(t *testing.T) {
	var found resolver.State
	for i := range 4000 {
		address := resolver.Address{Addr: fmt.Sprintf("10.0.%d.%d:9090", i/250, i%250)}
		found.Addresses = append(found.Addresses, address)
		found.Endpoints = append(found.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}})
	}
	for name, tt := range map[string]struct {
		connections int // that a namespace may have
		want        int
	}{
		"room for all":  {1000, mostAddresses},
		"room for none": {0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			room := client.NewAllowance("bytes of connections", tt.connections*client.UsualCost, 0)
			builder := manual.NewBuilderWithScheme("dns")
			builder.InitialState(found)
			to := &told{}
			r, err := few{builder, func() *client.Holding { return room.For("attacker") }}.Build(resolver.Target{}, to, resolver.BuildOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(to.state.Addresses) != tt.want || len(to.state.Endpoints) != tt.want {
				t.Errorf("%d addresses and %d endpoints are used, want %d", len(to.state.Addresses), len(to.state.Endpoints), tt.want)
			}
			r.Close()
			if err := room.For("attacker").Set(tt.connections * client.UsualCost); err != nil {
				t.Errorf("something is held yet: %v", err)
			}
		})
	}
}
