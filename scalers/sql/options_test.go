package main

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// parsers have the drivers parse a connection string as the triggers do, and
// say where it leads: networks, and hosts of those that have more than one.
var parsers = map[string]func(dsn string) (networks, hosts []string, err error){
	"postgresql": func(dsn string) ([]string, []string, error) {
		config, err := parsePostgreSQL(dsn)
		if err != nil {
			return nil, nil, err
		}
		var all []string
		for host := range hosts(config) {
			if strings.HasPrefix(host, "/") {
				return []string{"unix"}, nil, nil
			}
			all = append(all, host)
		}
		return []string{"tcp"}, all, nil
	},
	"mysql": func(dsn string) ([]string, []string, error) {
		config, err := mysqlParams{ConnectionString: dsn}.config()
		if err != nil {
			return nil, nil, err
		}
		if config.AllowAllFiles || config.ServerPubKey != "" {
			return []string{"files"}, nil, nil
		}
		return []string{config.Net}, []string{config.Addr}, nil
	},
	"mssql": func(dsn string) ([]string, []string, error) {
		config, err := parseMSSQL(dsn)
		return config.Protocols, []string{config.Host, config.FailOverPartner}, err
	},
}

// canary is a directory of files that notices when one of them is opened.
type canary struct {
	dir    string
	notify int
}

func newCanary(t testing.TB) *canary {
	t.Helper()
	c := &canary{dir: t.TempDir()}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	files := map[string][]byte{"ca.pem": authority, ".pgpass": []byte("*:*:*:*:borrowed\n"), ".pg_service.conf": []byte("[s]\nhost=elsewhere\n")}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(c.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if c.notify, err = syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(c.notify) })
	if _, err := syscall.InotifyAddWatch(c.notify, c.dir, syscall.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	return c
}

// opened says whether a file was opened since it was called last.
func (c *canary) opened() bool {
	n, err := syscall.Read(c.notify, make([]byte, 4096))
	return err == nil && n > 0
}

// in is a connection string with its words FILE replaced by a file, and DIR by
// its directory.
func (c *canary) in(dsn string) string {
	return strings.NewReplacer("FILE", filepath.Join(c.dir, "ca.pem"), "DIR", c.dir).Replace(dsn)
}

// tricks are connection strings that would have a driver open a file or go
// where no host leads, each kind by another way past a check of the text.
var tricks = map[string][]string{
	"postgresql": {
		"host=h sslrootcert=FILE", "host=h sslrootcert='FILE'", `host=h password='a\' b' sslrootcert=FILE`, "host=h\vsslrootcert=FILE", "host=h\fsslrootcert\v=\vFILE",
		"x:///=1 sslrootcert=FILE", "postgres:/// host=h sslrootcert=FILE", `host=h sslrootcert=\FILE`, `host=h password=a\ sslrootcert=FILE sslrootcert=FILE`,
		"postgres://h/d?sslrootcert=FILE", "postgres://h/d?%73slrootcert=FILE", "postgresql://h?sslrootcert=/dev/null&sslrootcert=FILE",
		"postgres://a@h/d?sslcert=FILE&sslkey=FILE", "host=h passfile=FILE", "host=h service=s servicefile=DIR/.pg_service.conf", "service=s",
		"host=DIR", "host=h,DIR", `host='C:\\pipe'`, "postgres:///d?host=DIR", "postgres://%2Ftmp/d", "dbname=d",
		"host=h krbsrvname=x", "host=h sslrootcert=systemFILE", "host=h sslrootcert=system sslcert=FILE sslkey=FILE",
	},
	"mysql": {
		"u:p@unix(DIR)/d", "u:p@unix/d", "u@/d?strict=true", "u:p@tcp(h:1)/d?serverPubKey=FILE", "u:p@tcp(h:1)/d?tls=FILE", "u:p@files(FILE)/d",
		"unix(@abstract)/", "u:p@/tmp/x(DIR)/d",
	},
	"mssql": {
		"Server=h;Certificate=FILE", "server=h;encrypt=true;CERTIFICATE =  FILE ", `Server=h;Certificate="FILE"`, "Server=h;ServerCertificate=FILE",
		"Server=h;server certificate=FILE", `Server=h;Password="a;b";certificate=FILE`, "Server=tcp:h;certificate=FILE", "Server=h;Cert\u0130ficate=FILE",
		"sqlserver://u:p@h?certificate=FILE", "sqlserver://u:p@h?%63ertificate=FILE", "sqlserver://u:p@h?servercertificate=FILE&encrypt=strict",
		"odbc:server=h;certificate={FILE}", "odbc:server=h;password={a;};certificate=FILE", "odbc:server=h;certificate\u00a0=FILE",
		"Server=np:h;protocol=np", "sqlserver://h?protocol=lpc", "Server=h;protocol=admin", "Server=h;pipe=x", "Server=h;krb5-configfile=FILE", "x:///=1;certificate=FILE;server=h",
	},
}

// TestNoFileBehindAConnectionString has a driver parse what would have it open a
// file of the family's, or connect to a socket of its file system.
func TestNoFileBehindAConnectionString(t *testing.T) {
	c := newCanary(t)
	for triggerType, all := range tricks {
		for _, trick := range all {
			networks, _, err := parsers[triggerType](c.in(trick))
			if code := status.Code(err); code != codes.InvalidArgument && code != codes.PermissionDenied {
				t.Errorf("%s: %s: leads to %v, %v", triggerType, trick, networks, err)
			}
			if c.opened() {
				t.Errorf("%s: %s: a file was opened", triggerType, trick)
			}
		}
	}
}

// TestListedFilesOfConnectionStrings has the file that the installation lists.
func TestListedFilesOfConnectionStrings(t *testing.T) {
	c := newCanary(t)
	scalertest.Readable(t, filepath.Join(c.dir, "ca.pem"))
	for triggerType, all := range map[string][]string{
		"postgresql": {
			"host=h user=u sslmode=verify-full sslrootcert=FILE", `host=h user=u password='a\' b' sslrootcert = 'FILE' `,
			"postgres://u:p%40@h:5433/d?sslrootcert=FILE&sslmode=verify-ca", "host=h user=u sslrootcert=system",
		},
		"mssql": {"Server=h;Certificate=FILE;Encrypt=true", `Server=h;Password="a;b";certificate=FILE`, "sqlserver://u:p@h?certificate=FILE", "odbc:server=h;certificate={FILE}"},
	} {
		for _, dsn := range all {
			if networks, hosts, err := parsers[triggerType](c.in(dsn)); err != nil || !slices.Contains(networks, "tcp") || hosts[0] != "h" {
				t.Errorf("%s: %s: %v, %v, %v", triggerType, dsn, networks, hosts, err)
			}
			if !c.opened() && !strings.HasSuffix(dsn, "system") {
				t.Errorf("%s: %s: the file was not opened", triggerType, dsn)
			}
		}
	}
	config, err := parsePostgreSQL(c.in(`postgres://u:p%27%5C@h:5433/d%20b?sslrootcert=FILE&sslmode=verify-ca&statement_timeout=5`))
	if err != nil || config.User != "u" || config.Password != `p'\` || config.Host != "h" || config.Port != 5433 || config.Database != "d b" ||
		config.RuntimeParams["statement_timeout"] != "5" || config.TLSConfig.RootCAs == nil {
		t.Errorf("a URL was written anew as %+v, %v", config, err)
	}
}

// TestOptionsThatManifestsHave are those of providers' consoles and of guides.
func TestOptionsThatManifestsHave(t *testing.T) {
	for triggerType, all := range map[string][]string{
		"postgresql": {
			"postgres://u:p@a,b:5433/d?sslmode=require&target_session_attrs=read-write&connect_timeout=10&application_name=keda",
			"host=h user=u password=p dbname=d sslmode=disable options='-c lock_timeout=5s' search_path=x", "postgres://u:p@h/d?ssl=true&default_query_exec_mode=simple_protocol",
		},
		"mysql": {"u:p@tcp(h:1)/d", "u:p@tcp([::1]:1)/d?tls=skip-verify&parseTime=true&loc=UTC&charset=utf8mb4&sql_mode=ANSI", "u:p@tcp(h)/d?allowAllFiles=true&compress=true"},
		"mssql": {
			"Server=tcp:h,1433;Initial Catalog=d;Persist Security Info=False;User ID=u;Password=p;MultipleActiveResultSets=False;Encrypt=True;TrustServerCertificate=False;Connection Timeout=30;",
			"sqlserver://u:p@h:1433/instance?database=d&encrypt=disable&app+name=keda", "odbc:driver={ODBC Driver 18 for SQL Server};server=h;uid=u;pwd={p;};database=d",
		},
	} {
		for _, dsn := range all {
			if networks, _, err := parsers[triggerType](dsn); err != nil || !slices.Equal(networks, []string{"tcp"}) {
				t.Errorf("%s: %s: %v, %v", triggerType, dsn, networks, err)
			}
		}
	}
}

// TestRefusedOptionsHaveNames has an option that no trigger sets, and what
// looks like one but is a part of a password.
func TestRefusedOptionsHaveNames(t *testing.T) {
	tests := map[string][3]string{
		"a file of passwords":    {"postgresql", "host=h passfile=/x", "connection: option passfile may not be set by a trigger"},
		"a part of a password":   {"postgresql", "host=h password=my hunter2=x", "connection: has an option that is not among those of docs/families.md"},
		"a key of the family's":  {"mssql", "Server=h;krb5-keytabfile=/x", "connectionString: option krb5-keytabfile may not be set by a trigger"},
		"of a password of mssql": {"mssql", "Server=h;Password=my;hunter2=x", "connectionString: has an option that is not among those of docs/families.md"},
	}
	for name, tt := range tests {
		if _, _, err := parsers[tt[0]](tt[1]); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != tt[2] {
			t.Errorf("%s: %v, want %s", name, err, tt[2])
		}
	}
}

// TestNothingOfTheFamilysOwn has variables and files that drivers take into
// every connection by themselves.
func TestNothingOfTheFamilysOwn(t *testing.T) {
	c := newCanary(t)
	for variable, value := range map[string]string{
		"HOME": c.dir, "PGPASSWORD": "borrowed", "PGHOST": "elsewhere", "PGSERVICE": "s", "PGSERVICEFILE": c.in("DIR/.pg_service.conf"),
		"PGSSLROOTCERT": c.in("FILE"), "PGOPTIONS": "-c role=x", "MSSQL_USE_EPA": "true",
	} {
		t.Setenv(variable, value)
	}
	forgetEnvironment()
	config, err := parsePostgreSQL("host=h user=u")
	if err != nil || config.Password != "" || config.Host != "h" || len(config.RuntimeParams) > 0 || c.opened() {
		t.Errorf("postgresql: %+v, %v", config, err)
	}
	if config, err := parseMSSQL("Server=h"); err != nil || config.EpaEnabled {
		t.Errorf("mssql: %+v, %v", config, err)
	}
}

// TestStatementsThatASessionKeeps has room for more of them than there is
// memory, all of which the driver makes at once.
func TestStatementsThatASessionKeeps(t *testing.T) {
	config, err := parsePostgreSQL("host=h user=u statement_cache_capacity=2147483647 description_cache_capacity=2147483647")
	if err != nil || config.StatementCacheCapacity > mostCached || config.DescriptionCacheCapacity > mostCached {
		t.Errorf("%+v, %v", config, err)
	}
}

// FuzzConnectionStrings proves that no connection string opens a file, or leads
// anywhere but to hosts over TCP, and that no error repeats a password.
func FuzzConnectionStrings(f *testing.F) {
	for _, all := range tricks {
		for _, trick := range all {
			f.Add(trick)
		}
	}
	c := newCanary(f)
	f.Fuzz(func(t *testing.T, dsn string) {
		for triggerType, parse := range parsers {
			networks, hosts, err := parse(c.in(dsn))
			if c.opened() {
				t.Errorf("%s: a file was opened", triggerType)
			}
			if err != nil {
				continue
			}
			if slices.ContainsFunc(networks, func(n string) bool { return n != "tcp" }) {
				t.Errorf("%s: leads to %v, %v", triggerType, networks, hosts)
			}
		}
	})
}

// TestConnectionStringsAreBounded: what drivers make of a long one takes all
// memory, as a list of half a million hosts does.
func TestConnectionStringsAreBounded(t *testing.T) {
	long := strings.Repeat("h,", longestConnection)
	for name, parse := range map[string]func() error{
		"postgresql": func() error { _, err := parsePostgreSQL("host=" + long); return err },
		"a URL":      func() error { _, err := parsePostgreSQL("postgres://" + long); return err },
		"mysql":      func() error { _, err := mysqlParams{ConnectionString: long}.config(); return err },
		"mssql":      func() error { _, err := parseMSSQL("server=h;database=" + long); return err },
	} {
		if err := parse(); err == nil || !strings.HasSuffix(err.Error(), ": has more than 16384 bytes") {
			t.Errorf("%s: error = %v", name, err)
		}
	}
	var thousand []string
	for i := range 1000 {
		thousand = append(thousand, fmt.Sprintf("h%d", i))
	}
	if _, err := parsePostgreSQL("sslmode=disable host=" + strings.Join(thousand, ",")); err == nil || !strings.Contains(err.Error(), "of 100 that there may be") {
		t.Errorf("a thousand hosts: error = %v", err)
	}
	if _, err := parsePostgreSQL("host=" + strings.Join(thousand[:10], ",")); err != nil {
		t.Errorf("ten hosts: %v", err)
	}
}
