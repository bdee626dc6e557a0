package federation

import (
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

func TestReadService(t *testing.T) {
	yes, no, grpcs, http := true, false, secureGRPC, "http"
	everything := transports{secure: true, plaintext: true}
	conditions := func(c ...discoveryv1.EndpointConditions) []*discoveryv1.EndpointSlice {
		s := slice("kafka", "a", "10.0.0.1:9090")
		s.Endpoints = nil
		for n, one := range c {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{[]string{"10.0.0.1", "10.0.0.2"}[n]}, Conditions: one})
		}
		return []*discoveryv1.EndpointSlice{s}
	}
	tests := map[string]struct {
		change func(*corev1.Service)
		slices []*discoveryv1.EndpointSlice
		can    transports
		want   []endpoint
		family string
		plain  bool
		err    string
	}{
		"an instance is an address and the port named grpc": {
			change: func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "metrics"}) },
			slices: []*discoveryv1.EndpointSlice{slice("kafka", "a", "10.0.0.1:9090")},
			want:   []endpoint{{target: "passthrough:///10.0.0.1:9090", address: "10.0.0.1:9090"}},
			plain:  true,
		},
		"the only port needs no name": {
			change: func(s *corev1.Service) { s.Spec.Ports[0].Name = "other" },
			slices: []*discoveryv1.EndpointSlice{func() *discoveryv1.EndpointSlice {
				s, name := slice("kafka", "a", "10.0.0.1:9090"), "other"
				s.Ports[0].Name = &name
				return s
			}()},
			want:  []endpoint{{target: "passthrough:///10.0.0.1:9090", address: "10.0.0.1:9090"}},
			plain: true,
		},
		"several ports without one named grpc": {
			change: func(s *corev1.Service) { s.Spec.Ports = []corev1.ServicePort{{Name: "a"}, {Name: "b"}} },
			err:    "Service scaler-kafka in namespace sluice-system has several ports and none is named grpc",
		},
		"the label names the family": {
			change: func(s *corev1.Service) { s.Labels = map[string]string{familyLabel: "streams"} },
			family: "streams",
			plain:  true,
		},
		"no appProtocol is mTLS": {
			change: func(s *corev1.Service) { s.Spec.Ports[0].AppProtocol = nil },
		},
		"grpcs is mTLS": {
			change: func(s *corev1.Service) { s.Spec.Ports[0].AppProtocol = &grpcs },
		},
		"mTLS without keys": {
			change: func(s *corev1.Service) { s.Spec.Ports[0].AppProtocol = &grpcs },
			can:    transports{plaintext: true},
			err:    "Service scaler-kafka in namespace sluice-system asks for mTLS, and this process has no keys",
		},
		"plaintext must be allowed": {
			can: transports{secure: true},
			err: "Service scaler-kafka in namespace sluice-system is plaintext (appProtocol kubernetes.io/h2c), which this installation does not allow",
		},
		"another protocol": {
			change: func(s *corev1.Service) { s.Spec.Ports[0].AppProtocol = &http },
			err:    `Service scaler-kafka in namespace sluice-system has appProtocol "http"; known are grpcs and kubernetes.io/h2c`,
		},
		"ExternalName is followed": {
			change: func(s *corev1.Service) {
				s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "scaler.example.com"
			},
			want:  []endpoint{{target: "dns:///scaler.example.com:9090", address: "scaler.example.com:9090"}},
			plain: true,
		},
		"what is not ready is left out, what terminates but serves is kept": {
			slices: conditions(
				discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes},
				discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &yes},
			),
			want:  []endpoint{{target: "passthrough:///10.0.0.1:9090", address: "10.0.0.1:9090", terminating: true}},
			plain: true,
		},
		"an instance that starts is not ready": {
			slices: conditions(discoveryv1.EndpointConditions{Ready: &no}),
			plain:  true,
		},
		"a dual-stack Pod is one instance": {
			change: func(s *corev1.Service) {
				s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
			},
			slices: func() []*discoveryv1.EndpointSlice {
				six := slice("kafka", "b", "[fd00::1]:9090")
				six.AddressType = discoveryv1.AddressTypeIPv6
				return []*discoveryv1.EndpointSlice{slice("kafka", "a", "10.0.0.1:9090"), six}
			}(),
			want:  []endpoint{{target: "passthrough:///[fd00::1]:9090", address: "[fd00::1]:9090"}},
			plain: true,
		},
		"an address that is in two slices is one instance": {
			slices: []*discoveryv1.EndpointSlice{slice("kafka", "a", "10.0.0.1:9090"), slice("kafka", "b", "10.0.0.1:9090")},
			want:   []endpoint{{target: "passthrough:///10.0.0.1:9090", address: "10.0.0.1:9090"}},
			plain:  true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			svc := plainService("kafka")
			if tt.change != nil {
				tt.change(svc)
			}
			if tt.can == (transports{}) {
				tt.can = everything
			}
			v := readService(svc, tt.slices, "kafka", tt.can)
			if tt.err != "" {
				if v.problem == nil || v.problem.Error() != tt.err {
					t.Fatalf("problem = %v, want %s", v.problem, tt.err)
				}
				return
			}
			if v.problem != nil {
				t.Fatal(v.problem)
			}
			if tt.family == "" {
				tt.family = "kafka"
			}
			if v.family != tt.family || v.plaintext != tt.plain || len(v.endpoints) != len(tt.want) {
				t.Fatalf("view = %+v", v)
			}
			for n := range tt.want {
				if v.endpoints[n] != tt.want[n] {
					t.Errorf("endpoint = %+v, want %+v", v.endpoints[n], tt.want[n])
				}
			}
		})
	}
}

func TestNobodyToAskIsSaidInThreeWays(t *testing.T) {
	w := newWorld(t)
	gone := newFamily(t, w.events)
	gone.kill()
	w.service("cron")
	w.service("redis", gone)
	tests := map[string]struct {
		triggerType string
		want        string
		code        codes.Code
	}{
		"a type that cannot be a Service": {"My_Type", `trigger type "My_Type" cannot be a Service name, use type: external`, codes.InvalidArgument},
		"a Service that is not there":     {"kafka", "Service scaler-kafka not found in namespace sluice-system: family kafka, which serves the type, is not installed: add deploy/scalers/kafka to your kustomization", codes.NotFound},
		"a Service without addresses":     {"cron", "Service scaler-cron in namespace sluice-system has no ready instance", codes.Unavailable},
		"an address where nobody listens": {"redis", "Service scaler-redis in namespace sluice-system has no ready instance", codes.Unavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			lost := trigger(tt.triggerType, 1)
			w.Subscribe(lost)
			w.until("it is said", func() bool {
				err := w.state(lost).Unreachable
				return err != nil && err.Error() == tt.want && status.Code(err) == tt.code
			})
			if _, err := w.GetMetrics(t.Context(), lost, "backlog"); err == nil || err.Error() != tt.want {
				t.Errorf("GetMetrics = %v, want %s", err, tt.want)
			}
			w.until("it is described so, once every instance was judged", func() bool {
				_, err := w.Describe(tt.triggerType)
				return err != nil && err.Error() == tt.want
			})
		})
	}
}

func TestAServiceThatGoesAndComesHealsByItself(t *testing.T) {
	w := newWorld(t)
	first := newFamily(t, w.events)
	orders := trigger("kafka", 1)
	w.service("kafka", first)
	w.Subscribe(orders)
	w.until("the value is known", w.observed(orders, 7))

	w.deleteService("kafka")
	w.until("the absence is known", func() bool { return w.state(orders).Unreachable != nil })
	s := w.state(orders)
	if s.Outcome != scaling.Value || s.Values[0].Value != 7 || !s.HaveSpecs {
		t.Errorf("what was observed before is gone: %+v", s)
	}
	w.until("the family is left", func() bool { return len(first.has()) == 0 })

	second := newFamily(t, w.events, func(f *family) { f.value = 9 })
	w.service("kafka", second)
	w.until("the new family is heard", w.observed(orders, 9))
	if err := w.state(orders).Unreachable; err != nil {
		t.Errorf("Unreachable = %v", err)
	}
}

// TestServicesAreToldOf: who keeps their keys is told of Services, and not of
// addresses, which come and go with every Pod.
func TestServicesAreToldOf(t *testing.T) {
	e := newEvents()
	var told atomic.Int32
	w := newWorldWith(t, e, func(c *Config) {
		c.ServicesChanged = func() { told.Add(1); e.happened() }
	})
	orders := trigger("kafka", 1)
	w.Subscribe(orders)
	w.put(plainService("kafka"))
	w.until("the Service is told of", func() bool { return told.Load() == 1 })
	w.addresses("kafka", newFamily(t, w.events))
	w.until("the value is known", w.observed(orders, 7))
	w.deleteService("kafka")
	w.until("its end is known", func() bool { return told.Load() >= 2 && w.state(orders).Unreachable != nil })
	if n := told.Load(); n != 2 {
		t.Errorf("told %d times, want once that it came and once that it went", n)
	}
}

func TestTypesOfOneFamilyShareAConnection(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	for _, triggerType := range []string{"kafka", "apache-kafka"} {
		svc := plainService(triggerType)
		svc.Labels = map[string]string{familyLabel: "kafka"}
		w.put(svc)
		w.addresses(triggerType, f)
		w.Subscribe(trigger(triggerType, len(triggerType)))
	}
	w.until("both are subscribed", func() bool { return len(f.has()) == 2 })
	f.mu.Lock()
	streams := len(f.streams)
	f.mu.Unlock()
	w.mu.Lock()
	connections := len(w.instances)
	w.mu.Unlock()
	if streams != 1 || connections != 1 {
		t.Errorf("streams = %d, connections = %d, want 1 of each", streams, connections)
	}
}

func TestExternalNameIsAnInstance(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	svc := plainService("kafka")
	svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, "localhost"
	svc.Spec.Ports[0].Port = *slice("kafka", "a", f.address()).Ports[0].Port
	w.put(svc)
	orders := trigger("kafka", 1)
	w.Subscribe(orders)
	w.until("the value is known", w.observed(orders, 7))
}

func TestDescribe(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	w.service("redis", f)
	w.Subscribe(trigger("kafka", 1))
	w.Subscribe(trigger("redis", 2))
	w.until("the family is known", func() bool { _, err := w.Describe("kafka"); return err == nil })
	description, err := w.Describe("kafka")
	if err != nil || description.GetType() != "kafka" {
		t.Errorf("Describe = %v, %v", description, err)
	}
	w.until("the other Service is judged", func() bool {
		_, err := w.Describe("redis")
		return err != nil && err.Error() == "Service scaler-redis in namespace sluice-system is of family kafka, which does not serve that type"
	})
	f.kill()
	w.until("the family is gone", func() bool {
		_, err := w.GetMetrics(t.Context(), trigger("kafka", 1), "backlog")
		return err != nil
	})
	if _, err := w.Describe("kafka"); err != nil {
		t.Errorf("Describe = %v, want what was heard before", err)
	}
}
