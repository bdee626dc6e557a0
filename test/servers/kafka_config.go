package servers

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// Names of the brokers' listeners.
const (
	plaintextListener  = "PLAINTEXT"
	saslListener       = "SASL"
	tlsListener        = "TLS"
	saslTLSListener    = "SASLTLS"
	faultListener      = "FAULT"
	controllerListener = "CONTROLLER"
)

// protocols maps each listener to Kafka's security protocol.
var protocols = map[string]string{
	plaintextListener:  "PLAINTEXT",
	saslListener:       "SASL_PLAINTEXT",
	tlsListener:        "SSL",
	saslTLSListener:    "SASL_SSL",
	faultListener:      "PLAINTEXT",
	controllerListener: "PLAINTEXT",
}

// kafkaBroker is what one broker is configured from.
type kafkaBroker struct {
	id         int
	dir        string
	bind       map[string]string // address by listener
	advertised map[string]string // address told to clients, by listener
	voters     string            // the controllers, as id@host:port
	tls        *tlsFiles
}

func (b kafkaBroker) plaintext() string  { return b.bind[plaintextListener] }
func (b kafkaBroker) properties() string { return filepath.Join(b.dir, "server.properties") }

// hasSASL tells whether there is anything to log in with.
func (o KafkaOptions) hasSASL() bool { return len(o.Users) > 0 || o.OAuthBearer }

// listenerNames are the listeners that the options ask for.
func (o KafkaOptions) listenerNames() []string {
	names := []string{plaintextListener, controllerListener}
	if o.hasSASL() {
		names = append(names, saslListener)
	}
	if o.TLS {
		names = append(names, tlsListener)
	}
	if o.TLS && o.hasSASL() {
		names = append(names, saslTLSListener)
	}
	if o.Fault {
		names = append(names, faultListener)
	}
	return names
}

// configure gives every broker its folder, ports, proxies and certificates.
func (k *KafkaServer) configure(ctx context.Context, o KafkaOptions, dir string) ([]kafkaBroker, error) {
	if o.TLS {
		authority, err := NewAuthority()
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		k.Authority = authority
	}
	var brokers []kafkaBroker
	var voters []string
	for id := 1; id <= o.Brokers; id++ {
		b := kafkaBroker{id: id, dir: filepath.Join(dir, strconv.Itoa(id))}
		if err := k.place(ctx, o, &b); err != nil {
			return nil, err
		}
		brokers = append(brokers, b)
		voters = append(voters, fmt.Sprintf("%d@%s", id, b.bind[controllerListener]))
	}
	for i := range brokers {
		brokers[i].voters = strings.Join(voters, ",")
	}
	return brokers, nil
}

func (k *KafkaServer) place(ctx context.Context, o KafkaOptions, b *kafkaBroker) error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	names := o.listenerNames()
	ports, err := freePorts(ctx, o.Address, len(names))
	if err != nil {
		return err
	}
	b.bind = map[string]string{}
	for i, name := range names {
		b.bind[name] = hostPort(o.Address, ports[i])
		k.listeners[name] = append(k.listeners[name], b.bind[name])
	}
	b.advertised = maps.Clone(b.bind)
	delete(b.advertised, controllerListener)
	if o.Fault {
		proxy, err := fault.ListenAt(hostPort(o.Address, 0), b.bind[faultListener]) //nolint:contextcheck // lives until Close, not for the start
		if err != nil {
			return err
		}
		k.proxies = append(k.proxies, proxy)
		b.advertised[faultListener] = proxy.Addr()
	}
	if k.Authority != nil {
		files, err := k.Authority.write(b.dir, o.Address)
		if err != nil {
			return err
		}
		b.tls = &files
	}
	return nil
}

// write puts the configuration of the broker and of its log into its folder.
func (b kafkaBroker) write(o KafkaOptions) error {
	properties := b.settings(o)
	maps.Copy(properties, o.Properties)
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&text, "%s=%s\n", key, properties[key])
	}
	if err := os.WriteFile(b.properties(), []byte(text.String()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.dir, "log4j2.properties"), []byte(kafkaLogging), 0o600)
}

// settings are the broker's properties.
//
// Source: https://kafka.apache.org/documentation/#brokerconfigs
func (b kafkaBroker) settings(o KafkaOptions) map[string]string {
	replicas := strconv.Itoa(min(o.Brokers, 3))
	p := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(b.id),
		"controller.quorum.voters":       b.voters,
		"controller.listener.names":      controllerListener,
		"inter.broker.listener.name":     plaintextListener,
		"listeners":                      listenerList(b.bind),
		"advertised.listeners":           listenerList(b.advertised),
		"listener.security.protocol.map": protocolMap(b.bind),
		"log.dirs":                       filepath.Join(b.dir, "data"),

		"num.partitions":                                   "1",
		"default.replication.factor":                       replicas,
		"offsets.topic.num.partitions":                     "4",
		"offsets.topic.replication.factor":                 replicas,
		"transaction.state.log.num.partitions":             "1",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.num.partitions":     "1",
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            "1",

		// A test waits for nothing that production waits for out of courtesy.
		"group.initial.rebalance.delay.ms": "0",
		"controlled.shutdown.enable":       strconv.FormatBool(o.Brokers > 1),
		// A broker that was killed stays a leader for the session timeout, and
		// waits for its own former session when it is started again. Kafka's
		// default: with less, a busy machine fences a healthy broker.
		"broker.session.timeout.ms":    "9000",
		"broker.heartbeat.interval.ms": "500",
		// A small broker for a small machine.
		"num.network.threads":                       "2",
		"num.io.threads":                            "4",
		"log.cleaner.dedupe.buffer.size":            "4194304",
		"log.segment.delete.delay.ms":               "1000",
		"transaction.partition.verification.enable": "false",
	}
	if o.hasSASL() {
		maps.Copy(p, saslSettings(o))
	}
	if b.tls != nil {
		maps.Copy(p, tlsSettings(o, *b.tls))
	}
	if o.Authorize {
		p["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
		p["super.users"] = "User:ANONYMOUS"
	}
	return p
}

// saslSettings let the users log in with every mechanism, on every listener
// with SASL.
func saslSettings(o KafkaOptions) map[string]string {
	var mechanisms []string
	modules := map[string]string{}
	if len(o.Users) > 0 {
		mechanisms = append(mechanisms, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
		plain := "org.apache.kafka.common.security.plain.PlainLoginModule required"
		for _, name := range slices.Sorted(maps.Keys(o.Users)) {
			plain += fmt.Sprintf(` user_%s="%s"`, name, o.Users[name])
		}
		modules["plain"] = plain + ";"
		scram := "org.apache.kafka.common.security.scram.ScramLoginModule required;"
		modules["scram-sha-256"], modules["scram-sha-512"] = scram, scram
	}
	if o.OAuthBearer {
		mechanisms = append(mechanisms, "OAUTHBEARER")
		modules["oauthbearer"] = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required" +
			` unsecuredLoginStringClaim_sub="broker";`
	}
	p := map[string]string{}
	for _, listener := range []string{saslListener, saslTLSListener} {
		prefix := "listener.name." + strings.ToLower(listener) + "."
		p[prefix+"sasl.enabled.mechanisms"] = strings.Join(mechanisms, ",")
		for mechanism, module := range modules {
			p[prefix+mechanism+".sasl.jaas.config"] = module
		}
	}
	return p
}

func tlsSettings(o KafkaOptions, files tlsFiles) map[string]string {
	p := map[string]string{
		"ssl.keystore.type":       "PEM",
		"ssl.keystore.location":   files.both,
		"ssl.truststore.type":     "PEM",
		"ssl.truststore.location": files.ca,
		// The principal of a client certificate is its common name alone.
		"ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
	}
	if o.ClientAuth {
		p["listener.name."+strings.ToLower(tlsListener)+".ssl.client.auth"] = "required"
	}
	return p
}

func listenerList(addresses map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(addresses)) {
		list = append(list, name+"://"+addresses[name])
	}
	return strings.Join(list, ",")
}

func protocolMap(listeners map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(listeners)) {
		list = append(list, name+":"+protocols[name])
	}
	return strings.Join(list, ",")
}

// newClusterID returns a random id in the form that Kafka prints UUIDs.
func newClusterID() (string, error) {
	var id [16]byte
	// The first byte stays 0: an id that starts with "-" reads as a flag.
	if _, err := rand.Read(id[1:]); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(id[:]), nil
}

// kafkaLogging sends the broker's log to its output.
const kafkaLogging = `rootLogger.level=info
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{HH:mm:ss.SSS} %p %c{1}: %m%n
# Every setting of every part, over and over.
logger.config.name=org.apache.kafka.common.config.AbstractConfig
logger.config.level=warn
`
