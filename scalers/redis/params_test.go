package main

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestMetricNamesAndTargets(t *testing.T) {
	tests := map[string]struct {
		triggerType string
		metadata    map[string]string
		name        string
		target      float64
	}{
		"a key":                  {"redis", map[string]string{"listName": "a/b:c"}, "redis-a-b-c", 5},
		"a key's target":         {"redis-cluster", map[string]string{"listName": "jobs", "listLength": "12"}, "redis-jobs", 12},
		"the length of a stream": {"redis-streams", map[string]string{"stream": "events", "streamLength": "7", "lagCount": "9"}, "redis-streams-events", 7},
		"pending entries": {"redis-streams", map[string]string{"stream": "events", "consumerGroup": "g", "pendingEntriesCount": "8", "streamLength": "7"},
			"redis-streams-events", 8},
		"lag": {"redis-cluster-streams", map[string]string{"stream": "events", "consumerGroup": "g", "lagCount": "9", "pendingEntriesCount": "8"},
			"redis-streams-events", 9},
		"targets by default": {"redis-streams", map[string]string{"stream": "events", "consumerGroup": "g"}, "redis-streams-events", 5},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := map[string]string{"address": "redis.invalid:6379"}
			maps.Copy(metadata, tt.metadata)
			specs, err := family.Specs(t.Context(), tt.triggerType, metadata)
			if err != nil {
				t.Fatal(err)
			}
			if len(specs) != 1 || specs[0].GetMetricName() != tt.name || specs[0].GetTargetSizeFloat() != tt.target {
				t.Errorf("specs = %v, want %s at %v", specs, tt.name, tt.target)
			}
		})
	}
}

func TestRefusedMetadata(t *testing.T) {
	tests := map[string]struct {
		triggerType string
		metadata    map[string]string
		auth        map[string]string
		message     string
	}{
		"no key":     {"redis", map[string]string{"address": "r:1"}, nil, "redis: listName: is required (looked in metadata)"},
		"no address": {"redis", map[string]string{"listName": "l"}, nil, "redis: address: no addresses or hosts: give address, or host and port"},
		"hosts without ports count as absent": {"redis", map[string]string{"listName": "l", "host": "r"}, nil,
			"redis: address: no addresses or hosts: give address, or host and port"},
		"hosts and ports of different number": {"redis-cluster", map[string]string{"listName": "l", "hosts": "a,b", "ports": "1"}, nil,
			"redis-cluster: host: has 2 elements and port has 1, not one port for each host"},
		"servers without end": {"redis-sentinel", map[string]string{"address": strings.Repeat("r:1,", 1000), "listName": "l", "sentinelMaster": "m"}, nil,
			"redis-sentinel: address: names 1000 servers, of 100 that there may be"},
		"TLS in two places": {"redis", map[string]string{"address": "r:1", "listName": "l", "enableTLS": "true"}, map[string]string{"tls": "enable"},
			"redis: enableTLS: cannot be combined with the authentication parameter tls"},
		"TLS that is no word": {"redis", map[string]string{"address": "r:1", "listName": "l"}, map[string]string{"tls": "yes"},
			`redis: tls: the value from authentication is not one of enable, disable`},
		"TLS that is no bool": {"redis", map[string]string{"address": "r:1", "listName": "l", "enableTLS": "yes"}, nil,
			`redis: enableTLS: "yes" is neither true nor false`},
		"a length that is no number": {"redis", map[string]string{"address": "r:1", "listName": "l", "listLength": "many"}, nil,
			`redis: listLength: "many" is not an integer`},
		"no master": {"redis-sentinel", map[string]string{"address": "r:1", "listName": "l"}, nil,
			"redis-sentinel: sentinelMaster: is required (looked in metadata, authentication, sentinelMasterFromEnv)"},
		"no stream": {"redis-streams", map[string]string{"address": "r:1"}, nil, "redis-streams: stream: is required (looked in metadata)"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := family
			if tt.auth != nil {
				f = family.WithAuth(tt.auth)
			}
			_, err := f.Observe(t.Context(), tt.triggerType, tt.metadata)
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v\nwant %q", err, tt.message)
			}
		})
	}
}

// TestAFixedServerCannotBeReplaced: address and host are two ways to say where
// the password goes.
func TestAFixedServerCannotBeReplaced(t *testing.T) {
	for given, metadata := range map[string]map[string]string{
		"address": {"host": "evil", "port": "1", "listName": "l"},
		"host":    {"addresses": "evil:1", "listName": "l"},
	} {
		family := scalertest.Serve(t, triggers...).WithClusterAuth("shared", map[string]string{given: "good:1", "password": "hunter2"})
		for _, triggerType := range []string{"redis", "redis-cluster"} {
			_, err := family.Observe(t.Context(), triggerType, metadata)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "is fixed by ClusterTriggerAuthentication shared") {
				t.Errorf("%s with %s fixed: %v", triggerType, given, err)
			}
		}
	}
}

func TestAddresses(t *testing.T) {
	tests := map[string]struct {
		params connectionParams
		want   []string
	}{
		"one":                     {connectionParams{Address: []string{"a:1"}}, []string{"a:1"}},
		"pairs come last":         {connectionParams{Address: []string{"a:1"}, Host: []string{"b", "c"}, Port: []string{"2", "3"}}, []string{"a:1", "b:2", "c:3"}},
		"IPv6":                    {connectionParams{Host: []string{"::1"}, Port: []string{"2"}}, []string{"[::1]:2"}},
		"ports alone are no pair": {connectionParams{Address: []string{"a:1"}, Port: []string{"2"}}, []string{"a:1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.params.addresses()
			if err != nil || list(got) != list(tt.want) {
				t.Errorf("addresses = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

// TestEnvironment has every parameter of these types that can be taken from a
// variable.
func TestEnvironment(t *testing.T) {
	server := []string{"address", "host", "password", "port", "username"}
	sentinel := append(slices.Clone(server), "sentinelMaster", "sentinelPassword", "sentinelUsername")
	slices.Sort(sentinel)
	all := map[string][]string{
		"redis": server, "redis-cluster": server, "redis-sentinel": sentinel,
		"redis-streams": server, "redis-cluster-streams": server, "redis-sentinel-streams": sentinel,
	}
	cases.Each(t, triggers, func(t *testing.T, c scalertest.Case) {
		want, listed := all[c.Trigger.Type]
		if got := scalertest.FromEnv(c.Trigger, c.Metadata); listed && !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// TestScript has no name of a command that is computed: managed services refuse
// such scripts.
func TestScript(t *testing.T) {
	calls := regexp.MustCompile(`redis\.call\(([^,)]*)`).FindAllStringSubmatch(lengthText, -1)
	if len(calls) != 5 {
		t.Errorf("%d calls", len(calls))
	}
	for _, call := range calls {
		if !regexp.MustCompile(`^'[a-z]+'$`).MatchString(call[1]) {
			t.Errorf("%s is not written out", call[1])
		}
	}
}
