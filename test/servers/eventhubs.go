package servers

import (
	"cmp"
	"context"
	_ "embed" // for the program
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed eventhubs.py
var eventHubsProgram []byte

// EventHubsOptions says what kind of stand-in for Event Hubs to start.
type EventHubsOptions struct {
	// Address is where it binds; default 127.0.0.1.
	Address string
	// Authority makes it speak TLS alone, with a certificate of it for Address.
	Authority *Authority
	// Dir holds the log and what it answers and is kept; default: a folder that
	// Close removes.
	Dir string
}

// EventHubsState is what the stand-in answers, from now on.
type EventHubsState struct {
	// Hubs have partitions, each with its first and last sequence number.
	Hubs map[string][][2]int64 `json:"hubs"`
	// Keys are those of policies by their names, and Tokens those of Entra.
	Keys   map[string]string `json:"keys"`
	Tokens []string          `json:"tokens"`
	// Silent is set while nothing is answered, and no event is sent.
	Silent bool `json:"silent"`
	// Groups are the consumer groups of every hub. Their receivers are sent an event
	// for each sequence number behind the last that a partition had when they were
	// opened.
	Groups []string `json:"groups"`
	// Readers are how many a partition has beside those of this server, by
	// "<hub>/<group>/<partition>"; five are the most.
	Readers map[string]int `json:"readers"`
	// Event is how many bytes an event has.
	Event int `json:"event"`
	// Stolen are hubs whose receivers are ended, as those are that somebody with a
	// higher epoch takes the place of.
	Stolen []string `json:"stolen"`
}

// EventHubsServer stands in for the management and the receivers of Azure Event Hubs, of which
// there is no server that a test can run: it speaks AMQP by Qpid Proton, and
// checks signatures and tokens as Azure does.
type EventHubsServer struct {
	single

	address, file string
}

// StartEventHubs starts a server and returns when it answers. ctx bounds the
// start; the server lives until Close.
func StartEventHubs(ctx context.Context, o EventHubsOptions) (*EventHubsServer, error) {
	e := &EventHubsServer{}
	if err := e.start(ctx, o); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *EventHubsServer) start(ctx context.Context, o EventHubsOptions) error {
	// Debian's own, which has its packages, and not that of a venv.
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		return notInstalled("python3 with Qpid Proton")
	}
	dir, log, err := e.settle("eventhubs", o.Dir)
	if err != nil {
		return err
	}
	o.Address = cmp.Or(o.Address, loopback)
	ports, err := freePorts(ctx, o.Address, 1)
	if err != nil {
		return err
	}
	program := filepath.Join(dir, "eventhubs.py")
	e.address, e.file = hostPort(o.Address, ports[0]), filepath.Join(dir, "state.json")
	args := []string{program, e.address, e.file}
	if o.Authority != nil {
		certificate, key, err := o.Authority.Server(o.Address)
		if err != nil {
			return err
		}
		args = append(args, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err := errors.Join(os.WriteFile(args[3], certificate, 0o600), os.WriteFile(args[4], key, 0o600)); err != nil {
			return err
		}
	}
	if err := errors.Join(os.WriteFile(program, eventHubsProgram, 0o600), e.Answer(EventHubsState{})); err != nil {
		return err
	}
	e.Node = &Node{
		name: "eventhubs",
		log:  log,
		command: func() *exec.Cmd {
			// Lives until Node ends it, not until a context does.
			cmd := exec.Command(python, args...) //nolint:noctx // see above
			cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1"}
			return cmd
		},
		mark: "listening",
		probe: func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", e.address)
			if err == nil {
				conn.Close()
			}
			return err
		},
	}
	return e.Restart(ctx)
}

// Addr is its host:port.
func (e *EventHubsServer) Addr() string { return e.address }

// Answer is what it says from now on.
func (e *EventHubsServer) Answer(state EventHubsState) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := os.WriteFile(e.file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(e.file+".new", e.file)
}

// Said is how many lines of its log begin so: "connection" for each connection,
// "asked" for each question, "receiver" and "left" for each receiver that came and
// went, "event" for each event that was sent.
func (e *EventHubsServer) Said(what string) (int, error) {
	text, err := os.ReadFile(e.LogFile())
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, what) {
			n++
		}
	}
	return n, err
}
