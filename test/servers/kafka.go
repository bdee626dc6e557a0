package servers

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// KafkaOptions says what kind of Kafka cluster to start. The zero value is one
// broker with one plaintext listener on 127.0.0.1.
type KafkaOptions struct {
	// Address is where all listeners bind; default 127.0.0.1.
	Address string
	// Brokers is the size of the cluster; default 1. Each broker is a
	// controller too, and internal topics have min(Brokers, 3) replicas.
	Brokers int
	// Users are names and passwords. With at least one there is a SASL
	// listener that takes PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
	Users map[string]string
	// OAuthBearer adds OAUTHBEARER, and the SASL listener if there was none.
	// Tokens are unsigned; OAuthToken makes them.
	OAuthBearer bool
	// TLS adds a TLS listener, and one with SASL over TLS if there is SASL.
	TLS bool
	// ClientAuth makes the TLS listener require a client certificate; its
	// common name is the principal.
	ClientAuth bool
	// Authorize refuses what no ACL allows. Clients of the plaintext listener
	// are super users, so that a test can create topics and ACLs; those of the
	// other listeners are what their login says.
	Authorize bool
	// Fault puts a fault.Proxy before each broker, reached by BootstrapFault.
	Fault bool
	// HeapMiB is the size of each broker's Java heap; default 256.
	HeapMiB int
	// Properties are added to the brokers' configuration.
	Properties map[string]string
	// Dir holds data and logs and is kept; default: a folder that Close removes.
	Dir string
}

// KafkaServer is a running Kafka cluster.
type KafkaServer struct {
	// Nodes are its brokers, to break them one by one.
	Nodes []*Node
	// Authority signed the brokers' certificates; nil without TLS.
	Authority *Authority

	listeners map[string][]string // addresses by listener name, one per broker
	proxies   []*fault.Proxy
	cleanup   []func() error
}

// StartKafka starts a cluster and returns when all brokers answer. ctx bounds
// the start; the cluster lives until Close.
func StartKafka(ctx context.Context, o KafkaOptions) (*KafkaServer, error) {
	o.Address = cmp.Or(o.Address, "127.0.0.1")
	o.Brokers = cmp.Or(o.Brokers, 1)
	o.HeapMiB = cmp.Or(o.HeapMiB, 256)
	k := &KafkaServer{listeners: map[string][]string{}}
	if err := k.start(ctx, o); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *KafkaServer) start(ctx context.Context, o KafkaOptions) error {
	jvm, err := newKafkaJVM(o.HeapMiB)
	if err != nil {
		return err
	}
	dir, err := k.folder(o.Dir)
	if err != nil {
		return err
	}
	config, err := k.configure(ctx, o, dir)
	if err != nil {
		return err
	}
	for _, b := range config {
		if err := k.addNode(o, jvm, b); err != nil {
			return err
		}
	}
	clusterID, err := newClusterID()
	if err != nil {
		return err
	}
	format := make(map[*Node]*exec.Cmd, len(config))
	for i, b := range config {
		format[k.Nodes[i]] = jvm.format(clusterID, b, o.Users)
	}
	return each(k.Nodes, func(n *Node) error {
		if err := run(format[n], n.log); err != nil {
			return fmt.Errorf("%s: format its storage: %w", n.name, err)
		}
		return n.Restart(ctx)
	})
}

// folder returns the cluster's folder and sees to its removal.
func (k *KafkaServer) folder(dir string) (string, error) {
	dir, remove, err := ownFolder("kafka", dir)
	if err == nil {
		k.cleanup = append(k.cleanup, remove)
	}
	return dir, err
}

// addNode writes the broker's files and prepares its process.
func (k *KafkaServer) addNode(o KafkaOptions, jvm kafkaJVM, b kafkaBroker) error {
	if err := b.write(o); err != nil {
		return err
	}
	log, err := createLog(filepath.Join(b.dir, "server.log"))
	if err != nil {
		return err
	}
	k.cleanup = append(k.cleanup, log.close)
	k.Nodes = append(k.Nodes, &Node{
		name:    "kafka broker " + strconv.Itoa(b.id),
		log:     log,
		command: func() *exec.Cmd { return jvm.server(b) },
		mark:    "Kafka Server started",
		probe:   func(ctx context.Context) error { return probeKafka(ctx, b.plaintext()) },
	})
	return nil
}

// Bootstrap is the plaintext listener of all brokers, "host:port" separated by
// commas. Its clients are super users where there is an authorizer.
func (k *KafkaServer) Bootstrap() string { return k.bootstrap(plaintextListener) }

// BootstrapSASL is the listener for KafkaOptions.Users without TLS; empty if
// there is none, as for all that follow.
func (k *KafkaServer) BootstrapSASL() string { return k.bootstrap(saslListener) }

// BootstrapTLS is the listener with TLS and without SASL.
func (k *KafkaServer) BootstrapTLS() string { return k.bootstrap(tlsListener) }

// BootstrapSASLTLS is the listener for KafkaOptions.Users with TLS.
func (k *KafkaServer) BootstrapSASLTLS() string { return k.bootstrap(saslTLSListener) }

// BootstrapFault is a plaintext listener behind the proxies of Faults. All
// that its clients do passes them, as the brokers tell them these addresses.
func (k *KafkaServer) BootstrapFault() string {
	addrs := make([]string, len(k.proxies))
	for i, p := range k.proxies {
		addrs[i] = p.Addr()
	}
	return strings.Join(addrs, ",")
}

// Faults are the proxies before the brokers, in the order of Nodes; none
// without KafkaOptions.Fault.
func (k *KafkaServer) Faults() []*fault.Proxy { return k.proxies }

func (k *KafkaServer) bootstrap(listener string) string {
	return strings.Join(k.listeners[listener], ",")
}

// Kill ends all brokers at once.
func (k *KafkaServer) Kill() error { return each(k.Nodes, (*Node).Kill) }

// Shutdown lets all brokers end in good order.
func (k *KafkaServer) Shutdown() error { return each(k.Nodes, (*Node).Shutdown) }

// Stop freezes all brokers: they accept connections and never answer.
func (k *KafkaServer) Stop() error { return each(k.Nodes, (*Node).Stop) }

// Continue wakes all brokers.
func (k *KafkaServer) Continue() error { return each(k.Nodes, (*Node).Continue) }

// Restart starts all brokers again on their ports and data and returns when
// they answer.
func (k *KafkaServer) Restart(ctx context.Context) error {
	return each(k.Nodes, func(n *Node) error { return n.Restart(ctx) })
}

// Close kills the cluster and removes its folder.
func (k *KafkaServer) Close() error {
	err := k.Kill()
	for _, p := range k.proxies {
		err = errors.Join(err, p.Close())
	}
	return errors.Join(err, undo(k.cleanup))
}

// OAuthToken returns an unsigned token for subject, valid for an hour, as a
// broker with KafkaOptions.OAuthBearer accepts it.
//
// Source: RFC 7515 appendix A.5 (unsecured JWS).
func OAuthToken(subject string) string {
	now := nowSeconds()
	claims, _ := json.Marshal(map[string]any{"sub": subject, "iat": now, "exp": now + 3600})
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode(claims) + "."
}

// ownFolder returns dir, or a new folder and what removes it.
func ownFolder(name, dir string) (string, func() error, error) {
	if dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return "", nil, err
		}
		return dir, func() error { return nil }, os.MkdirAll(dir, 0o700)
	}
	dir, err := os.MkdirTemp("", "sluice-"+name+"-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (k *KafkaServer) processes() []*Node { return k.Nodes }

// undo calls the steps in reverse order.
func undo(steps []func() error) error {
	var err error
	for i := len(steps) - 1; i >= 0; i-- {
		err = errors.Join(err, steps[i]())
	}
	return err
}
