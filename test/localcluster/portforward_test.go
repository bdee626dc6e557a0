package localcluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testPortForward: kubectl port-forward leads to the loopback device of a Pod, more
// than once; a port that nobody listens at says so; and nobody but the API server
// gets there by asking the node.
func testPortForward(t *testing.T, c *Cluster, instance *Instance) {
	ctx := deadline(t, time.Minute)
	address := forwardTo(ctx, t, c, instance, "http")
	for range 2 {
		got, err := askAt(ctx, address)
		must(t, err)
		if got.Name != instance.Name() {
			t.Errorf("it is %s, want %s", got.Name, instance.Name())
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+forwardTo(ctx, t, c, instance, "9"), nil)
	must(t, err)
	if answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request); err == nil {
		answer.Body.Close()
		t.Error("a port where nobody listens answers")
	}
	var node corev1.Node
	must(t, c.Client().Get(ctx, client.ObjectKey{Name: processNode}, &node))
	endpoint := net.JoinHostPort(c.Address(), strconv.Itoa(int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)))
	stranger, err := tls.LoadX509KeyPair(c.plane.pki("kwok.crt"), c.plane.pki("kwok.key"))
	must(t, err)
	for name, certificates := range map[string][]tls.Certificate{"without a certificate": nil, "with another's": {stranger}} {
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certificates}}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+endpoint+"/portForward/fixture/"+instance.Name(), nil)
		must(t, err)
		answer, err := transport.RoundTrip(request)
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", name, answer.Status)
		}
	}
}

var forwardingFrom = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) `)

// forwardTo runs kubectl port-forward until the test ends and returns where it
// listens.
func forwardTo(ctx context.Context, t *testing.T, c *Cluster, instance *Instance, port string) string {
	t.Helper()
	running, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(running, c.Kubectl(), "--kubeconfig", c.Kubeconfig(), "port-forward", "-n", instance.Namespace(), "pod/"+instance.Name(), ":"+port)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // it was ended
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	found := forwardingFrom.FindStringSubmatch(line)
	if found == nil {
		cancel()
		_ = cmd.Wait()
		t.Fatalf("%v, %q: %s", err, line, &errs)
	}
	return found[1]
}
