package attacks

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/test/examples"
)

// prohibited are addresses that only the machine itself should reach, written in
// every way that leads there.
var prohibited = []string{
	"169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "metadata.google.internal", "metadata.goog", "METADATA.google.internal.",
	"[fd00:ec2::254]", "[fd00:ec2::23]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[fe80::1]",
	"127.0.0.1", "127.1.2.3", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "localhost", "LocalHost.", "x.localhost",
	"2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "127.1", "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
}

// onTop is for types whose example has its address in a Secret, or something
// that a guest cannot have; an empty text takes a key away.
var onTop = map[string]map[string]string{
	"apache-kafka": {"sasl": ""},
	"metrics-api":  {"aggregateFromKubeServiceEndpoints": "", "aggregationType": ""},
	"mssql":        {"host": "HOST", "port": "8080", "username": "me"},
	"mysql":        {"host": "HOST", "port": "8080", "username": "me", "dbName": "d"},
	"rabbitmq":     {"host": "http://a:b@HOST:8080/"},
}

// elsewhere are families and types that no guest can lead anywhere, and why.
var elsewhere = map[string]string{
	"aws":        "is asked with keys, in TestTargets",
	"azure":      "is asked with a login",
	"cron":       "asks nobody",
	"datadog":    "is asked with keys",
	"external":   "answers no guest, see TestTargets",
	"gcp":        "is asked with a login",
	"kubernetes": "asks the cluster's API server alone",
	"postgresql": "takes its address from a Secret",
}

// TestAddresses asks each family, as kubectl port-forward would, to go to where
// no user may send it: every type, by its example in docs.
func TestAddresses(t *testing.T) {
	t.Parallel()
	all, err := examples.Triggers("../..")
	if err != nil {
		t.Fatal(err)
	}
	guests := map[string]externalscaler.ExternalScalerClient{}
	for _, trigger := range all {
		if elsewhere[trigger.Family] != "" || elsewhere[trigger.Type] != "" {
			continue
		}
		metadata, leads := trigger.LedTo("HOST:8080")
		maps.Copy(metadata, onTop[trigger.Type])
		maps.DeleteFunc(metadata, func(_, value string) bool { return value == "" })
		if !leads && onTop[trigger.Type] == nil {
			t.Errorf("docs/examples/%s.yaml has no address: say in onTop what leads the type to one, or in elsewhere why nothing does", trigger.Type)
			continue
		}
		if guests[trigger.Family] == nil {
			guests[trigger.Family] = guest(t, "scaler-"+trigger.Family)
		}
		for _, host := range prohibited {
			if _, err := guests[trigger.Family].IsActive(t.Context(), about(trigger.Type, metadata, host)); !refused(err) {
				t.Errorf("%s to %s: %v", trigger.Type, host, err)
			}
		}
	}
	if world.metadata.wasAsked() {
		t.Error("the metadata service was asked")
	}
	unharmed(t)
}

// TestTargets gives external scalers, and services of AWS, an address that is
// prohibited, and the former one of gRPC's other targets, of which a part that
// nobody judges would be dialled.
func TestTargets(t *testing.T) {
	t.Parallel()
	targets := []string{
		"dns:///169.254.169.254:8080", "dns://198.18.0.1/localhost:8080", "passthrough:///127.0.0.1:8080", "ipv4:127.0.0.1:8080", "ipv6:[::1]:8080",
		"unix:///tmp/x", "unix-abstract:x", "xds:///x", "198.18.0.1:8080?x=1", "198.18.0.1:8080#x", "me@127.0.0.1:8080", "http://127.0.0.1:8080",
		"127.0.0.1:8080/x", "198.18.0.1,127.0.0.1:8080", "127.0.0.1%00.example.com:8080", "vsock:2:1",
	}
	for _, host := range prohibited {
		targets = append(targets, host+":8080")
	}
	enemy := tenant(t)
	enemy.grant("aws")
	// Services of AWS are asked with keys, of which a guest has none.
	enemy.authentication("keys", map[string]string{"awsAccessKeyID": "mine", "awsSecretAccessKey": "mine"})
	var scalers, queues []trigger
	for _, target := range targets {
		scalers = append(scalers, triggerOf("external", map[string]string{"scalerAddress": target}))
	}
	for _, host := range prohibited {
		endpoint := "http://" + host + ":8080"
		queues = append(queues, triggerOf("aws-sqs-queue", map[string]string{
			"awsEndpoint": endpoint, "queueURL": endpoint + "/1/q", "awsRegion": "eu-west-1",
		}).with("keys"))
	}
	enemy.refused("scalers", scalers)
	enemy.refused("queues", queues)
	// A guest is told nothing at all: the scaler would be, in the name of any
	// object.
	_, err := guest(t, "scaler-external").IsActive(t.Context(), about("external", map[string]string{"scalerAddress": world.cluster.Address() + ":8080"}, ""))
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("a guest is answered: %v", err)
	}
}

// refused makes an object of triggers each of which has an address that is
// prohibited, and waits until it says so of all of them.
func (h house) refused(name string, triggers []trigger) {
	h.t.Helper()
	object := h.scale(name, nil, triggers...)
	for i := range triggers {
		object.waitTrigger(i, "")
		_, message := object.condition("ScaledObject", name, "Ready")
		_, mine, _ := strings.Cut("; "+message, fmt.Sprintf("; trigger %d (", i))
		mine, _, _ = strings.Cut(mine, "; trigger ")
		if !refused(errors.New(mine)) {
			h.t.Errorf("%v: %s", triggers[i]["metadata"], mine)
		}
	}
}

// refused tells whether an error is about the address and not about what is
// there.
func refused(err error) bool {
	if err == nil {
		return false
	}
	for _, word := range []string{"of the machine itself", "link-local address or a cloud's metadata service", "notation that not all programs read alike", "has to be host:port"} {
		if strings.Contains(err.Error(), word) {
			return true
		}
	}
	return false
}

// guest is a client of a family on its loopback device, where nobody shows who
// they are.
func guest(t *testing.T, component string) externalscaler.ExternalScalerClient {
	t.Helper()
	address, stop, err := world.cluster.Instances(component)[0].PortForward(t.Context(), "loopback")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return externalscaler.NewExternalScalerClient(conn)
}

func about(kind string, metadata map[string]string, host string) *externalscaler.ScaledObjectRef {
	metadata = placed(metadata, strings.NewReplacer("HOST", host))
	metadata["sluice.dev/triggerType"] = kind
	return &externalscaler.ScaledObjectRef{Name: "guest", Namespace: "default", ScalerMetadata: metadata}
}
