package servers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Who every SQL server knows at first, and the database that belongs to them.
const (
	SQLUser     = "sluice"
	SQLPassword = "sluice"
	SQLDatabase = "sluice"
)

// PostgreSQLOptions says what kind of PostgreSQL server to start. The zero
// value is a server on 127.0.0.1 with password authentication (SCRAM).
type PostgreSQLOptions struct {
	// Address is where it listens; default 127.0.0.1.
	Address string
	// TLS offers TLS beside plaintext.
	TLS bool
	// Config are further lines of postgresql.conf.
	Config string
}

// PostgreSQLServer is a running PostgreSQL server.
type PostgreSQLServer struct {
	single
	// Authority signed the server's certificate; nil without TLS.
	Authority *Authority

	address string
	program func(string) string
}

// StartPostgreSQL starts a server with the database SQLDatabase and returns
// when it answers. ctx bounds the start; the server lives until Close.
func StartPostgreSQL(ctx context.Context, o PostgreSQLOptions) (*PostgreSQLServer, error) {
	o.Address = cmp.Or(o.Address, loopback)
	p := &PostgreSQLServer{}
	if err := p.start(ctx, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *PostgreSQLServer) start(ctx context.Context, o PostgreSQLOptions) error {
	var err error
	if p.program, err = postgreSQLPrograms(); err != nil {
		return err
	}
	dir, log, err := p.settle("postgresql", "")
	if err != nil {
		return err
	}
	data, err := p.configure(ctx, o, dir, log)
	if err != nil {
		return err
	}
	p.Node = &Node{
		name: "postgresql",
		log:  log,
		command: func() *exec.Cmd {
			// Lives until Node ends it, not until a context does.
			return as("postgres", exec.Command(p.program("postgres"), "-D", data)) //nolint:noctx // see above
		},
		probe: func(ctx context.Context) error { return p.Exec(ctx, "SELECT 1") },
	}
	return p.Restart(ctx)
}

// configure makes the data folder and its configuration.
//
// Source: https://www.postgresql.org/docs/current/runtime-config.html
func (p *PostgreSQLServer) configure(ctx context.Context, o PostgreSQLOptions, dir string, log *logFile) (string, error) {
	ports, err := freePorts(ctx, o.Address, 1)
	if err != nil {
		return "", err
	}
	p.address = hostPort(o.Address, ports[0])
	config := fmt.Sprintf("listen_addresses = '%s'\nport = %d\nunix_socket_directories = ''\nfsync = off\n", o.Address, ports[0])
	if o.TLS {
		if p.Authority, err = NewAuthority(); err != nil {
			return "", fmt.Errorf("certificate authority: %w", err)
		}
		files, err := p.Authority.write(dir, o.Address)
		if err != nil {
			return "", err
		}
		config += fmt.Sprintf("ssl = on\nssl_ca_file = '%s'\nssl_cert_file = '%s'\nssl_key_file = '%s'\n",
			files.ca, files.certificate, files.key)
	}
	data := filepath.Join(dir, "data")
	if err := errors.Join(
		writeFiles(dir, map[string]string{"password": SQLPassword}),
		os.Mkdir(data, 0o700),
		give("postgres", dir),
	); err != nil {
		return "", err
	}
	initialise := exec.CommandContext(ctx, p.program("initdb"), "--pgdata="+data, "--username="+SQLUser,
		"--pwfile="+filepath.Join(dir, "password"), "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err := run(as("postgres", initialise), log); err != nil {
		return "", err
	}
	// Without TLS of its own the last line lets every address in, which a
	// network namespace of a test needs.
	access := "host all all 0.0.0.0/0 scram-sha-256\n"
	if err := writeFiles(data, map[string]string{"pg_hba.conf": access}); err != nil {
		return "", err
	}
	file, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(config + o.Config + "\n")
	if err = errors.Join(err, file.Close(), give("postgres", data)); err != nil {
		return "", err
	}
	// The database of a single-user session has to be there already.
	create := exec.CommandContext(ctx, p.program("postgres"), "--single", "-D", data, "template1")
	create.Stdin = strings.NewReader("CREATE DATABASE " + SQLDatabase + "\n")
	return data, run(as("postgres", create), log)
}

// Exec runs statements in SQLDatabase with PostgreSQL's own client.
func (p *PostgreSQLServer) Exec(ctx context.Context, statements string) error {
	host, port, _ := strings.Cut(p.address, ":")
	cmd := exec.CommandContext(ctx, p.program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1",
		"--host="+host, "--port="+port, "--username="+SQLUser, "--dbname="+SQLDatabase, "--output="+os.DevNull)
	cmd.Env = append(cmd.Environ(), "PGPASSWORD="+SQLPassword, "PGCONNECT_TIMEOUT=2")
	return feed(cmd, statements)
}

// Addr is the server's host:port.
func (p *PostgreSQLServer) Addr() string { return p.address }

// URL is the address of SQLDatabase with user and password, without TLS.
func (p *PostgreSQLServer) URL() string {
	return fmt.Sprintf("postgresql://%s:%s@%s/%s?sslmode=disable", SQLUser, SQLPassword, p.address, SQLDatabase)
}

// postgreSQLPrograms returns how to find PostgreSQL's programs: Debian keeps
// those of a server out of PATH, one folder for each version.
func postgreSQLPrograms() (func(string) string, error) {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres"); len(found) > 0 {
		dir := filepath.Dir(found[len(found)-1])
		return func(name string) string { return filepath.Join(dir, name) }, nil
	}
	path, err := lookup("postgres")
	if err != nil {
		return nil, err
	}
	return func(name string) string { return filepath.Join(filepath.Dir(path), name) }, nil
}

// feed runs a client that reads statements from its standard input.
func feed(cmd *exec.Cmd, statements string) error {
	cmd.Stdin = strings.NewReader(statements)
	answer, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, strings.TrimSpace(string(answer)))
	}
	return nil
}
