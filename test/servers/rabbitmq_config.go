package servers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// loopback is where Erlang's own ports listen, whatever the server's address.
const loopback = "127.0.0.1"

// erlangEnvironment is all that RabbitMQ learns from its environment.
type erlangEnvironment map[string]string

func (e erlangEnvironment) epmdPort() string { return e["ERL_EPMD_PORT"] }

func (e erlangEnvironment) list() []string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(e)) {
		list = append(list, key+"="+e[key])
	}
	return list
}

// configure takes ports, writes the node's files into dir and returns its
// environment.
func (r *RabbitMQServer) configure(ctx context.Context, o RabbitMQOptions, dir string) (erlangEnvironment, error) {
	ports, err := freePorts(ctx, o.Address, 4)
	if err != nil {
		return nil, err
	}
	internal, err := freePorts(ctx, loopback, 2)
	if err != nil {
		return nil, err
	}
	r.amqp, r.http = hostPort(o.Address, ports[0]), hostPort(o.Address, ports[1])
	config := plainConfig(o, ports[0], ports[1])
	if o.TLS {
		if r.Authority, err = NewAuthority(); err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		files, err := r.Authority.write(dir, o.Address)
		if err != nil {
			return nil, err
		}
		r.amqps, r.https = hostPort(o.Address, ports[2]), hostPort(o.Address, ports[3])
		config += tlsConfig(o, files, ports[2], ports[3])
	}
	err = writeFiles(dir, map[string]string{
		"rabbitmq.conf":   config + o.Config + "\n",
		"enabled_plugins": "[rabbitmq_management,rabbitmq_auth_mechanism_ssl].\n",
		// Read instead of the system's.
		"rabbitmq-env.conf": "",
	})
	return nodeEnvironment(dir, fmt.Sprintf("sluice-%d@localhost", ports[0]), internal[0], internal[1]), err
}

// plainConfig is rabbitmq.conf without TLS.
//
// Source: https://www.rabbitmq.com/docs/configure#config-items
func plainConfig(o RabbitMQOptions, amqp, http int) string {
	return fmt.Sprintf(`listeners.tcp.1 = %s
management.tcp.ip = %s
management.tcp.port = %d
# The first user is welcome from everywhere the node listens.
loopback_users = none
# A nearly full disk is no reason to block publishers in a test.
disk_free_limit.absolute = 1MB
# The queues tell their counters, and the API takes them over.
collect_statistics_interval = %[4]d
management.sample_retention_policies.global.minute = %[5]d
management.sample_retention_policies.basic.minute = %[5]d
management.sample_retention_policies.detailed.minute = %[5]d
`, hostPort(o.Address, amqp), o.Address, http, o.StatisticsInterval.Milliseconds()/2, int(o.StatisticsInterval.Seconds()))
}

func tlsConfig(o RabbitMQOptions, files tlsFiles, amqps, https int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners.ssl.1 = %s\n", hostPort(o.Address, amqps))
	fmt.Fprintf(&b, "management.ssl.ip = %s\nmanagement.ssl.port = %d\n", o.Address, https)
	for _, prefix := range []string{"ssl_options", "management.ssl"} {
		fmt.Fprintf(&b, "%[1]s.cacertfile = %[2]s\n%[1]s.certfile = %[3]s\n%[1]s.keyfile = %[4]s\n",
			prefix, files.ca, files.certificate, files.key)
	}
	fmt.Fprintf(&b, "ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = %t\n", o.ClientAuth)
	b.WriteString("auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\nssl_cert_login_from = common_name\n")
	return b.String()
}

// nodeEnvironment keeps a node away from the system's RabbitMQ: every file in
// dir, a name and an Erlang registry of its own.
//
// Source: https://www.rabbitmq.com/docs/configure#supported-environment-variables
func nodeEnvironment(dir, name string, epmd, distribution int) erlangEnvironment {
	in := func(file string) string { return filepath.Join(dir, file) }
	return erlangEnvironment{
		"PATH": os.Getenv("PATH") + ":/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG": "C.UTF-8",
		// Where Erlang keeps the cookie that lets nodes talk.
		"HOME":             dir,
		"ERL_EPMD_PORT":    strconv.Itoa(epmd),
		"ERL_EPMD_ADDRESS": loopback,

		"RABBITMQ_NODENAME":                   name,
		"RABBITMQ_DIST_PORT":                  strconv.Itoa(distribution),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_CONFIG_FILE":                in("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE":       in("advanced.config"),
		"RABBITMQ_CONF_ENV_FILE":              in("rabbitmq-env.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE":       in("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE":                in("data"),
		"RABBITMQ_LOG_BASE":                   in("log"),
		"RABBITMQ_LOGS":                       "-",
		"RABBITMQ_SCHEMA_DIR":                 in("schema"),
		"RABBITMQ_GENERATED_CONFIG_DIR":       in("generated"),
		"RABBITMQ_PLUGINS_EXPAND_DIR":         in("plugins"),
		"RABBITMQ_PID_FILE":                   in("pid"),
		// The script becomes the server instead of watching over it.
		"RABBITMQ_ALLOW_INPUT": "1",
	}
}
