package servers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// RedisOptions says what kind of Redis to start. The zero value is one server
// without a password on 127.0.0.1.
type RedisOptions struct {
	// Address is where all processes bind; default 127.0.0.1.
	Address string
	// Password of the default user; none by default. Sentinels have it too.
	Password string
	// TLS replaces the plaintext port by one with TLS. Client certificates are
	// verified when a client shows one.
	TLS bool
	// Config are further lines of redis.conf, such as users for ACLs.
	Config string
}

// RedisServer is a running Redis server.
type RedisServer struct {
	*Node
	// Authority signed the server's certificate; nil without TLS.
	Authority *Authority

	address string
	group   redisGroup
}

// StartRedis starts a server and returns when it answers. ctx bounds the
// start; the server lives until Close.
func StartRedis(ctx context.Context, o RedisOptions) (*RedisServer, error) {
	o.Address = cmp.Or(o.Address, loopback)
	r := &RedisServer{group: redisGroup{options: o}}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *RedisServer) start(ctx context.Context) (err error) {
	if err := r.group.open(); err != nil {
		return err
	}
	r.Authority = r.group.authority
	if r.Node, r.address, err = r.group.add(ctx, "redis", "redis-server", r.group.server("redis")); err != nil {
		return err
	}
	return r.Restart(ctx)
}

// Do runs one command with Redis's own client and returns its answer.
func (r *RedisServer) Do(ctx context.Context, command ...string) (string, error) {
	return r.group.cli(ctx, r.address, command...)
}

// Addr is the server's host:port.
func (r *RedisServer) Addr() string { return r.address }

func (r *RedisServer) processes() []*Node { return []*Node{r.Node} }

// Close kills the server and removes its folder.
func (r *RedisServer) Close() error {
	return errors.Join(each(present(r.Node), (*Node).Kill), r.group.close())
}

// redisGroup is what the processes of one server, Sentinel group or cluster
// have in common: a folder, a password and an authority.
type redisGroup struct {
	options   RedisOptions
	authority *Authority
	dir       string
	tls       tlsFiles
	cleanup   []func() error
}

// open makes the folder and, for TLS, the certificates.
func (g *redisGroup) open() error {
	dir, remove, err := ownFolder("redis", "")
	if err != nil {
		return err
	}
	g.dir, g.cleanup = dir, append(g.cleanup, remove)
	if !g.options.TLS {
		return nil
	}
	if g.authority, err = NewAuthority(); err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	g.tls, err = g.authority.write(dir, g.options.Address)
	return err
}

func (g *redisGroup) close() error { return undo(g.cleanup) }

// add prepares one process with a port of its own and further lines of
// configuration. It is started by its Restart.
//
// Source: https://redis.io/docs/latest/operate/oss_and_stack/management/config/
func (g *redisGroup) add(ctx context.Context, name, program, config string) (*Node, string, error) {
	path, err := lookup(program)
	if err != nil {
		return nil, "", err
	}
	ports, err := freePorts(ctx, g.options.Address, 1)
	if err != nil {
		return nil, "", err
	}
	address := hostPort(g.options.Address, ports[0])
	id := fmt.Sprintf("%s-%d", name, ports[0])
	port := fmt.Sprintf("port %d\n", ports[0])
	if g.options.TLS {
		port = fmt.Sprintf("port 0\ntls-port %d\ntls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\n"+
			"tls-auth-clients optional\ntls-replication yes\ntls-cluster yes\n",
			ports[0], g.tls.certificate, g.tls.key, g.tls.ca)
	}
	file := filepath.Join(g.dir, id+".conf")
	if err := writeFiles(g.dir, map[string]string{id + ".conf": fmt.Sprintf("bind %s\nprotected-mode no\n%sdir %s\ndaemonize no\nlogfile \"\"\n%s",
		g.options.Address, port, g.dir, config)}); err != nil {
		return nil, "", err
	}
	log, err := createLog(filepath.Join(g.dir, id+".log"))
	if err != nil {
		return nil, "", err
	}
	g.cleanup = append(g.cleanup, log.close)
	return &Node{
		name:    id,
		log:     log,
		command: func() *exec.Cmd { return exec.Command(path, file) }, //nolint:noctx // lives until Node ends it
		probe: func(ctx context.Context) error {
			answer, err := g.cli(ctx, address, "PING")
			if err == nil && answer != "PONG" {
				err = fmt.Errorf("PING was answered with %q", answer)
			}
			return err
		},
	}, address, nil
}

// server adds the lines of a server that keeps its data in memory alone, under
// a name, so that processes of one folder do not share a file.
func (g *redisGroup) server(name string) string {
	lines := fmt.Sprintf("save \"\"\nappendonly no\ndbfilename %s.rdb\nrepl-diskless-sync-delay 0\n%s\n", name, g.options.Config)
	if g.options.Password != "" {
		lines += fmt.Sprintf("requirepass %[1]s\nmasterauth %[1]s\n", g.options.Password)
	}
	return lines
}

// cli runs one command with Redis's own client and returns its answer.
func (g *redisGroup) cli(ctx context.Context, address string, command ...string) (string, error) {
	path, err := lookup("redis-cli")
	if err != nil {
		return "", err
	}
	host, port, _ := strings.Cut(address, ":")
	args := []string{"-h", host, "-p", port, "--no-auth-warning"}
	if g.options.TLS {
		args = append(args, "--tls", "--cacert", g.tls.ca)
	}
	cmd := exec.CommandContext(ctx, path, append(args, command...)...)
	if g.options.Password != "" {
		cmd.Env = append(cmd.Environ(), "REDISCLI_AUTH="+g.options.Password)
	}
	answer, err := cmd.CombinedOutput()
	text := string(bytes.TrimSpace(answer))
	if err != nil {
		return "", fmt.Errorf("redis-cli %s: %w: %s", command[0], err, text)
	}
	return text, nil
}

// present is the nodes that there are.
func present(nodes ...*Node) []*Node {
	var there []*Node
	for _, n := range nodes {
		if n != nil {
			there = append(there, n)
		}
	}
	return there
}
