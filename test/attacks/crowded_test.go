package attacks

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestCrowdedNamespaces has one tenant make many objects with as many triggers
// as may be, each of them on a server of its own that never answers.
func TestCrowdedNamespaces(t *testing.T) {
	t.Parallel()
	for family, crowd := range map[string]struct {
		objects  int
		trigger  string
		metadata map[string]string
		secret   map[string]string
	}{
		"http":     {objects: 40, trigger: "metrics-api", metadata: map[string]string{"url": "http://ADDRESS/", "valueLocation": "value", "targetValue": "1"}},
		"redis":    {objects: 10, trigger: "redis", metadata: map[string]string{"address": "ADDRESS", "listName": "jobs"}},
		"kafka":    {objects: 10, trigger: "kafka", metadata: map[string]string{"bootstrapServers": "ADDRESS", "consumerGroup": "workers", "topic": "jobs"}},
		"external": {objects: 20, trigger: "external", metadata: map[string]string{"scalerAddress": "ADDRESS"}},
		"sql": {
			objects: 20, trigger: "postgresql", secret: map[string]string{"password": "me"},
			metadata: map[string]string{
				"host": "HOST", "port": "PORT", "userName": "me", "dbName": "jobs", "sslmode": "disable", "query": "SELECT 1", "targetQueryValue": "1",
			},
		},
	} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			others := standBy(t, family, neighbour(family))
			enemy := tenant(t)
			enemy.grant(family)
			if crowd.secret != nil {
				enemy.authentication("crowd", crowd.secret)
			}
			silence := everywhere(t)
			_, port, _ := net.SplitHostPort(silence.address())
			var objects []scaled
			for n := range crowd.objects {
				var triggers []trigger
				for i := range 100 {
					host := fmt.Sprintf("10.200.%d.%d", n, i+1)
					place := strings.NewReplacer("ADDRESS", net.JoinHostPort(host, port), "HOST", host, "PORT", port)
					one := triggerOf(crowd.trigger, placed(crowd.metadata, place))
					if crowd.secret != nil {
						one = one.with("crowd")
					}
					triggers = append(triggers, one)
				}
				objects = append(objects, enemy.scale(fmt.Sprint("crowd-", n), nil, triggers...))
			}
			defer func() {
				for _, instance := range world.cluster.Instances("scaler-" + family) {
					peak, _ := peakMemory(instance)
					t.Logf("%s had %d MiB at the most", instance.Name(), peak>>20)
				}
			}()
			others.goOn()
			silence.waitAsked(t)
			wait(t, "one that is told why", func() (bool, string) {
				var message string
				for _, o := range objects {
					if _, message = o.condition("ScaledObject", o.name, "Ready"); strings.Contains(message, "--connection-memory") {
						return true, ""
					}
				}
				return false, message[:min(len(message), 300)]
			})
			others.goOn()
			unharmed(t)
		})
	}
}

// everywhere starts a server that is silent at each address of a network of this
// machine.
func everywhere(t *testing.T) *server {
	t.Helper()
	const local = 255 // the table of the machine's own addresses
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	err = netlink.RouteReplace(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(10, 200, 0, 0).To4(), Mask: net.CIDRMask(16, 32)},
		Type: 2 /* RTN_LOCAL */, Table: local, Scope: netlink.SCOPE_HOST,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := honest(t, "0.0.0.0")
	s.answerAll(says())
	return s
}
