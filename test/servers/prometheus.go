package servers

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
)

// PrometheusOptions says what kind of Prometheus server to start. The zero
// value is a server on 127.0.0.1 that scrapes nothing and answers everybody.
type PrometheusOptions struct {
	// Address is where it listens; default 127.0.0.1.
	Address string
	// Targets are scraped every second, as host:port with the path /metrics.
	Targets []string
	// Labels are what further targets get of labels, as those of Pods do.
	Labels map[string]map[string]string
	// Rules is a file of rules, YAML, which are evaluated every second.
	Rules string
	// TLS serves over TLS alone, and checks client certificates where they are
	// shown.
	TLS bool
	// ClientAuth makes it require one.
	ClientAuth bool
	// BasicAuth lets nobody in but PrometheusUser.
	BasicAuth bool
}

// Who a server with BasicAuth knows.
const (
	PrometheusUser     = "reader"
	PrometheusPassword = "let-me-in"
	prometheusHash     = "$2a$04$5nwvExL05W8WawhhiLDppurOqv9H03sn0ye/xS2TsWXa2B3rPaa26" // of the password, by bcrypt at its lowest cost
)

// PrometheusServer is a running Prometheus.
type PrometheusServer struct {
	single
	// Authority signed the server's certificate; nil without TLS.
	Authority *Authority

	url    string
	client *http.Client
}

// StartPrometheus starts a server and returns when it answers. ctx bounds the
// start; the server lives until Close.
func StartPrometheus(ctx context.Context, o PrometheusOptions) (*PrometheusServer, error) {
	p := &PrometheusServer{client: &http.Client{}}
	if err := p.start(ctx, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *PrometheusServer) start(ctx context.Context, o PrometheusOptions) error {
	program, err := lookup("prometheus")
	if err != nil {
		return err
	}
	dir, log, err := p.settle("prometheus", "")
	if err != nil {
		return err
	}
	o.Address = cmp.Or(o.Address, loopback)
	ports, err := freePorts(ctx, o.Address, 1)
	if err != nil {
		return err
	}
	listen := hostPort(o.Address, ports[0])
	p.url = "http://" + listen
	if err := p.configure(o, dir); err != nil {
		return err
	}
	p.Node = &Node{
		name: "prometheus",
		log:  log,
		command: func() *exec.Cmd {
			// Lives until Node ends it, not until a context does.
			cmd := exec.Command(program, "--config.file=prometheus.json", "--web.config.file=web.json", //nolint:noctx // see above
				"--storage.tsdb.path=data", "--web.listen-address="+listen, "--log.level=warn")
			cmd.Dir = dir
			return cmd
		},
		probe: p.probe,
	}
	return p.Restart(ctx)
}

// configure writes the server's files into dir. JSON is YAML.
//
// Source: https://prometheus.io/docs/prometheus/latest/configuration/configuration/
// and https://prometheus.io/docs/prometheus/latest/configuration/https/
func (p *PrometheusServer) configure(o PrometheusOptions, dir string) error {
	type object = map[string]any
	targets := o.Targets
	if targets == nil {
		targets = []string{}
	}
	configs := []object{{"targets": targets}}
	for target, labels := range o.Labels {
		configs = append(configs, object{"targets": []string{target}, "labels": labels})
	}
	scrape := object{"job_name": "test", "static_configs": configs}
	web := object{}
	transport := &http.Transport{DisableKeepAlives: true}
	p.client.Transport = transport
	if o.BasicAuth {
		web["basic_auth_users"] = object{PrometheusUser: prometheusHash}
	}
	if o.TLS {
		var err error
		if p.Authority, err = NewAuthority(); err != nil {
			return fmt.Errorf("certificate authority: %w", err)
		}
		files, err := p.Authority.write(dir, o.Address)
		if err != nil {
			return err
		}
		auth := "VerifyClientCertIfGiven"
		if o.ClientAuth {
			auth = "RequireAndVerifyClientCert"
		}
		web["tls_server_config"] = object{
			"cert_file": files.certificate, "key_file": files.key, "client_ca_file": files.ca, "client_auth_type": auth,
		}
		p.url = strings.Replace(p.url, "http:", "https:", 1)
		var config *tls.Config
		if config, err = p.Authority.ClientConfig("probe"); err != nil {
			return err
		}
		transport.TLSClientConfig = config
	}
	global := object{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
	texts := map[string]string{"rules.yaml": cmp.Or(o.Rules, "groups: []")}
	for name, content := range map[string]object{
		"prometheus.json": {"global": global, "scrape_configs": []object{scrape}, "rule_files": []string{"rules.yaml"}},
		"web.json":        web,
	} {
		text, err := json.Marshal(content)
		if err != nil {
			return err
		}
		texts[name] = string(text)
	}
	return writeFiles(dir, texts)
}

// CheckRules has promtool check a file of rules.
func CheckRules(ctx context.Context, file string) error {
	program, err := lookup("promtool")
	if err != nil {
		return err
	}
	if said, err := exec.CommandContext(ctx, program, "check", "rules", file).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// URL is the base of the server's API.
func (p *PrometheusServer) URL() string { return p.url }

// Addr is the server's host:port.
func (p *PrometheusServer) Addr() string { return p.url[strings.Index(p.url, "://")+3:] }

// probe succeeds when the server says, to PrometheusUser, that it is ready.
func (p *PrometheusServer) probe(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/-/ready", nil)
	if err != nil {
		return err
	}
	request.SetBasicAuth(PrometheusUser, PrometheusPassword)
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
