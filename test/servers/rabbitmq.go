package servers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// RabbitMQOptions says what kind of RabbitMQ node to start. The zero value is
// a node with AMQP and the management API on 127.0.0.1.
type RabbitMQOptions struct {
	// Address is where AMQP and the management API bind; default 127.0.0.1.
	Address string
	// TLS adds AMQP and the management API over TLS, and SASL EXTERNAL, where
	// the common name of a client certificate is the user's name.
	TLS bool
	// ClientAuth makes AMQP over TLS require a client certificate.
	ClientAuth bool
	// StatisticsInterval is how often the counters behind the management API
	// are renewed, in whole seconds; default 1 s (RabbitMQ's own is 5 s).
	StatisticsInterval time.Duration
	// Config are further lines of rabbitmq.conf.
	Config string
	// Dir holds data and logs and is kept; default: a folder that Close removes.
	Dir string
}

// Who every node knows at first: an administrator of all vhosts, with "/" as
// the first of them.
const (
	RabbitMQUser     = "guest"
	RabbitMQPassword = "guest"
)

// RabbitMQServer is a running RabbitMQ node.
type RabbitMQServer struct {
	single
	// Authority signed the node's certificate; nil without TLS.
	Authority *Authority

	amqp, amqps, http, https string // addresses; empty without TLS
	client                   *http.Client
}

// StartRabbitMQ starts a node and returns when it answers over AMQP and HTTP.
// ctx bounds the start; the node lives until Close.
func StartRabbitMQ(ctx context.Context, o RabbitMQOptions) (*RabbitMQServer, error) {
	o.Address = cmp.Or(o.Address, "127.0.0.1")
	o.StatisticsInterval = cmp.Or(o.StatisticsInterval, time.Second)
	r := &RabbitMQServer{client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	if err := r.start(ctx, o); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *RabbitMQServer) start(ctx context.Context, o RabbitMQOptions) error {
	program, err := rabbitMQProgram()
	if err != nil {
		return err
	}
	dir, log, err := r.settle("rabbitmq", o.Dir)
	if err != nil {
		return err
	}
	environment, err := r.configure(ctx, o, dir)
	if err != nil {
		return err
	}
	if err := r.startEPMD(ctx, environment, log); err != nil {
		return err
	}
	r.Node = &Node{
		name: "rabbitmq",
		log:  log,
		command: func() *exec.Cmd {
			// Lives until Node ends it, not until a context does.
			cmd := exec.Command(program, "-noinput") //nolint:noctx // see above
			cmd.Dir, cmd.Env = dir, environment.list()
			return cmd
		},
		probe: r.probe,
	}
	return r.Restart(ctx)
}

// startEPMD starts the registry of Erlang nodes for this node alone, in the
// foreground: the one that Erlang starts by itself outlives everybody.
func (r *RabbitMQServer) startEPMD(ctx context.Context, environment erlangEnvironment, log *logFile) error {
	program, err := lookup("epmd")
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "-address", loopback, "-port", environment.epmdPort()) //nolint:noctx // lives until Close
	cmd.Env = environment.list()
	registry, err := startProcess(cmd, log)
	if err != nil {
		return err
	}
	r.cleanup = append(r.cleanup, registry.kill)
	return until(ctx, registry, "epmd", func(ctx context.Context) error {
		return exchange(ctx, loopback+":"+environment.epmdPort(), nil, nil)
	})
}

// probe succeeds when both protocols answer: AMQP with its first method, HTTP
// to a logged-in user.
func (r *RabbitMQServer) probe(ctx context.Context) error {
	header := []byte("AMQP\x00\x00\x09\x01")
	if err := exchange(ctx, r.amqp, header, make([]byte, 7)); err != nil {
		return err
	}
	return r.Manage(ctx, http.MethodGet, "/api/overview", nil)
}

// AMQPURL is the address of a vhost for an AMQP client, with user and password.
func (r *RabbitMQServer) AMQPURL(vhost string) string { return address("amqp", r.amqp, vhost) }

// AMQPSURL is AMQPURL over TLS; empty without RabbitMQOptions.TLS.
func (r *RabbitMQServer) AMQPSURL(vhost string) string { return address("amqps", r.amqps, vhost) }

// HTTPURL is the address of a vhost for a trigger in HTTP mode, with user and
// password: the management API's with the vhost as its path.
func (r *RabbitMQServer) HTTPURL(vhost string) string { return address("http", r.http, vhost) }

// HTTPSURL is HTTPURL over TLS; empty without RabbitMQOptions.TLS.
func (r *RabbitMQServer) HTTPSURL(vhost string) string { return address("https", r.https, vhost) }

// AMQPAddr is the host:port of AMQP, for a fault.Proxy for example.
func (r *RabbitMQServer) AMQPAddr() string { return r.amqp }

// HTTPAddr is the host:port of the management API.
func (r *RabbitMQServer) HTTPAddr() string { return r.http }

func address(scheme, host, vhost string) string {
	if host == "" {
		return ""
	}
	return fmt.Sprintf("%s://%s:%s@%s/%s", scheme, RabbitMQUser, RabbitMQPassword, host, url.PathEscape(vhost))
}

// writeFiles puts named contents into dir.
func writeFiles(dir string, files map[string]string) error {
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}
