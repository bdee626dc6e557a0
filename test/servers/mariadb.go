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

// MariaDBOptions says what kind of MariaDB server to start. The zero value is
// a server on 127.0.0.1.
type MariaDBOptions struct {
	// Address is where it listens; default 127.0.0.1.
	Address string
	// TLS offers TLS beside plaintext.
	TLS bool
	// Config are further lines of the [mariadbd] section.
	Config string
}

// MariaDBServer is a running MariaDB server, which speaks MySQL's protocol.
type MariaDBServer struct {
	single
	// Authority signed the server's certificate; nil without TLS.
	Authority *Authority

	address string
}

// StartMariaDB starts a server with the database SQLDatabase and returns when
// it answers. ctx bounds the start; the server lives until Close.
func StartMariaDB(ctx context.Context, o MariaDBOptions) (*MariaDBServer, error) {
	o.Address = cmp.Or(o.Address, loopback)
	m := &MariaDBServer{}
	if err := m.start(ctx, o); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *MariaDBServer) start(ctx context.Context, o MariaDBOptions) error {
	program, err := mariaDBProgram("mariadbd")
	if err != nil {
		return err
	}
	dir, log, err := m.settle("mariadb", "")
	if err != nil {
		return err
	}
	config, err := m.configure(ctx, o, dir, log)
	if err != nil {
		return err
	}
	m.Node = &Node{
		name: "mariadb",
		log:  log,
		command: func() *exec.Cmd {
			// Lives until Node ends it, not until a context does.
			return as("mysql", exec.Command(program, "--defaults-file="+config)) //nolint:noctx // see above
		},
		probe: func(ctx context.Context) error { return m.Exec(ctx, "SELECT 1") },
	}
	return m.Restart(ctx)
}

// configure makes the data folder, the configuration and the statements that
// every start runs, and returns the configuration's path.
//
// Source: https://mariadb.com/kb/en/server-system-variables/
func (m *MariaDBServer) configure(ctx context.Context, o MariaDBOptions, dir string, log *logFile) (string, error) {
	install, err := mariaDBProgram("mariadb-install-db")
	if err != nil {
		return "", err
	}
	ports, err := freePorts(ctx, o.Address, 1)
	if err != nil {
		return "", err
	}
	m.address = hostPort(o.Address, ports[0])
	in := func(name string) string { return filepath.Join(dir, name) }
	config := fmt.Sprintf("[mariadbd]\nbind-address = %s\nport = %d\ndatadir = %s\nsocket = %s\ninit-file = %s\n"+
		"skip-name-resolve\ninnodb-flush-log-at-trx-commit = 0\ninnodb-buffer-pool-size = 16M\n",
		o.Address, ports[0], in("data"), in("socket"), in("init.sql"))
	if o.TLS {
		if m.Authority, err = NewAuthority(); err != nil {
			return "", fmt.Errorf("certificate authority: %w", err)
		}
		files, err := m.Authority.write(dir, o.Address)
		if err != nil {
			return "", err
		}
		config += fmt.Sprintf("ssl-ca = %s\nssl-cert = %s\nssl-key = %s\n", files.ca, files.certificate, files.key)
	}
	if err := errors.Join(
		writeFiles(dir, map[string]string{
			"mariadb.cnf": config + o.Config + "\n",
			"init.sql": fmt.Sprintf("CREATE DATABASE IF NOT EXISTS %[1]s;\nCREATE USER IF NOT EXISTS '%[2]s'@'%%' IDENTIFIED BY '%[3]s';\n"+
				"GRANT ALL PRIVILEGES ON *.* TO '%[2]s'@'%%' WITH GRANT OPTION;\n", SQLDatabase, SQLUser, SQLPassword),
		}),
		os.Mkdir(in("data"), 0o700),
		give("mysql", dir),
	); err != nil {
		return "", err
	}
	prepare := exec.CommandContext(ctx, install, "--no-defaults", "--datadir="+in("data"),
		"--auth-root-authentication-method=normal", "--skip-test-db")
	return in("mariadb.cnf"), run(as("mysql", prepare), log)
}

// Exec runs statements in SQLDatabase with MariaDB's own client.
func (m *MariaDBServer) Exec(ctx context.Context, statements string) error {
	client, err := mariaDBProgram("mariadb")
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(m.address, ":")
	cmd := exec.CommandContext(ctx, client, "--no-defaults", "--protocol=tcp", "--connect-timeout=2",
		"--host="+host, "--port="+port, "--user="+SQLUser, SQLDatabase)
	cmd.Env = append(cmd.Environ(), "MYSQL_PWD="+SQLPassword)
	return feed(cmd, statements)
}

// Addr is the server's host:port.
func (m *MariaDBServer) Addr() string { return m.address }

// DSN is the address of SQLDatabase with user and password, as Go's driver
// takes it, without TLS.
func (m *MariaDBServer) DSN() string {
	return fmt.Sprintf("%s:%s@tcp(%s)/%s", SQLUser, SQLPassword, m.address, SQLDatabase)
}

// mariaDBProgram finds a program; the server's own is in /usr/sbin on Debian.
func mariaDBProgram(name string) (string, error) {
	if path := filepath.Join("/usr/sbin", name); regular(path) {
		return path, nil
	}
	return lookup(name)
}

func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
