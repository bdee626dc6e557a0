package outbound

import (
	"net"
	"strings"
	"testing"
)

// TestTargets: a gRPC server is named by host and port alone.
func TestTargets(t *testing.T) {
	for _, text := range []string{
		"scaler:9090", "scaler.shop.svc.cluster.local.:9090", "10.0.0.1:1", "[2001:db8::1]:65535", "my_scaler-1.shop:80", "redis.123:9090", "[::ffff:10.0.0.1]:80",
	} {
		if host, port, err := HostPort(text); err != nil || net.JoinHostPort(host, port) != text {
			t.Errorf("%s: %q %q, %v", text, host, port, err)
		}
	}
	const alone, anything = "has to be host:port alone: write ", "has to be host:port, with "
	for text, want := range map[string]string{
		"dns:///scaler.shop:9090":                         alone + "scaler.shop:9090",
		"dns:scaler.shop:9090":                            alone + "scaler.shop:9090",
		"DNS:///scaler:9090":                              alone + "scaler:9090",
		"dns://10.0.0.9/scaler:9090":                      alone + "scaler:9090",
		"dns://169.254.169.254:53/scaler:9090":            alone + "scaler:9090",
		"passthrough:///169.254.169.254:80":               alone + "169.254.169.254:80",
		"passthrough:169.254.169.254:80":                  alone + "169.254.169.254:80",
		"ipv4:10.0.0.1:80":                                alone + "10.0.0.1:80",
		"ipv6:[::1]:80":                                   alone + "[::1]:80",
		"http://scaler:9090":                              alone + "scaler:9090",
		"xds:///scaler":                                   anything,
		"unix:/run/agent.sock":                            anything,
		"unix:///run/agent.sock":                          anything,
		"unix-abstract:agent":                             anything,
		"ipv4:10.0.0.1:80,169.254.169.254:80":             anything,
		"passthrough:///169.254.169.254:80?x=scaler:9090": anything,
		"passthrough:///169.254.169.254:80#/scaler:9090":  alone + "scaler:9090",
		"169.254.169.254:80?/scaler:9090":                 alone + "scaler:9090",
		"scaler:9090?a=b":                                 anything,
		"scaler:9090#part":                                anything,
		"scaler:9090/path":                                anything,
		"user:s3cret@scaler:9090":                         anything,
		"dns:///user:s3cret@scaler:9090":                  anything,
		"scaler%2f169.254.169.254:80":                     anything,
		"scaler":                                          anything,
		"scaler:":                                         anything,
		":9090":                                           anything,
		"scaler:0":                                        anything,
		"scaler:65536":                                    anything,
		"scaler:http":                                     anything,
		"scaler:+80":                                      anything,
		"2001:db8::1:80":                                  anything,
		"[2001:db8::1]":                                   anything,
		"[scaler]:80":                                     anything,
		"[10.0.0.1]:80":                                   anything,
		"[fe80::1%eth0]:80":                               anything,
		"a..b:80":                                         anything,
		"-a:80":                                           anything,
		"sc aler:80":                                      anything,
		"scaler\n:80":                                     anything,
		"scälér:80":                                       anything,
		strings.Repeat("a", 254) + ":80":                  anything,
	} {
		host, port, err := HostPort(text)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %q %q, %v, want %q", text, host, port, err, want)
		}
	}
}
