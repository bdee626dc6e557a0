package localcluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The roles of the control plane, as Cluster.Role knows them.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kwok              = "kwok"
)

// fakeNode marks the nodes that are kwok's to play; the one that we play has
// another value.
const fakeNode = "kwok.x-k8s.io/node"

//go:embed audit-policy.yaml
var auditPolicy []byte

// stages say how kwok plays nodes and Pods. They are the stages node/fast,
// node/heartbeat-with-lease and pod/fast of sigs.k8s.io/kwok v0.8.0
// (Apache-2.0), unchanged.
//
//go:embed stages
var stages embed.FS

// controlPlaneConfig is what the roles are started from.
type controlPlaneConfig struct {
	dir     *clusterDir
	binDir  string
	host    string // where the roles listen
	ports   ports
	options Options
	routing bool // to endpoints rather than to the Service's name
}

// ports of the roles. On an address of their own they are the usual ones.
type ports struct {
	apiServer, etcd, etcdPeer, controllerManager, scheduler, kwok int
}

var usualPorts = ports{apiServer: 6443, etcd: 2379, etcdPeer: 2380, controllerManager: 10257, scheduler: 10259, kwok: 10247}

// portsFor picks free ports where others may listen too.
func portsFor(n network) (ports, error) {
	if n.isolated() {
		return usualPorts, nil
	}
	free, err := freePorts(n.address().String(), 6)
	if err != nil {
		return ports{}, err
	}
	return ports{free[0], free[1], free[2], free[3], free[4], free[5]}, nil
}

// freePorts returns ports that nobody listened on a moment ago.
func freePorts(host string, count int) ([]int, error) {
	found := make([]int, 0, count)
	for range count {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, err
		}
		defer listener.Close() // after the last, so that they differ
		found = append(found, listener.Addr().(*net.TCPAddr).Port)
	}
	return found, nil
}

func (c *controlPlaneConfig) server() string {
	return "https://" + net.JoinHostPort(c.host, strconv.Itoa(c.ports.apiServer))
}

func (c *controlPlaneConfig) certs() string { return c.dir.join("pki") }

func (c *controlPlaneConfig) pki(name string) string { return filepath.Join(c.certs(), name) }

// kubeconfig is the path of a user's kubeconfig.
func (c *controlPlaneConfig) kubeconfig(user string) string {
	return c.dir.join(user + ".kubeconfig")
}

// writeFiles makes everything that the roles read.
func (c *controlPlaneConfig) writeFiles() error {
	if err := c.dir.make("pki", "logs", "etcd", "pods"); err != nil {
		return err
	}
	if err := c.writeCertificates(); err != nil {
		return err
	}
	if err := os.WriteFile(c.dir.join("audit-policy.yaml"), auditPolicy, 0o644); err != nil {
		return err
	}
	files, err := stages.ReadDir("stages")
	if err != nil {
		return err
	}
	var all [][]byte
	for _, file := range files {
		content, err := stages.ReadFile("stages/" + file.Name())
		if err != nil {
			return err
		}
		all = append(all, content)
	}
	return os.WriteFile(c.dir.join("kwok.yaml"), bytes.Join(all, []byte("---\n")), 0o644)
}

// users of the API server that log in with a certificate: the name is that of
// the kubeconfig. Cluster and kubelet are ours; their names tell them apart in
// the audit log.
var users = []struct{ name, user, group string }{
	{"admin", "admin", "system:masters"},
	{"runner", "sluice-test-runner", "system:masters"},
	{"kubelet", "sluice-test-kubelet", "system:masters"},
	{"kwok", "kwok", "system:masters"},
	{ControllerManager, "system:kube-controller-manager", ""},
	{Scheduler, "system:kube-scheduler", ""},
}

func (c *controlPlaneConfig) writeCertificates() error {
	ca, err := newAuthority(c.certs(), "ca")
	if err != nil {
		return err
	}
	frontProxy, err := newAuthority(c.certs(), "front-proxy-ca")
	if err != nil {
		return err
	}
	if err := frontProxy.client("front-proxy-client", "front-proxy-client"); err != nil {
		return err
	}
	if err := writeSigningKey(c.certs(), "service-accounts"); err != nil {
		return err
	}
	if err := c.writeWebhookClient(); err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	addresses := []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP("10.96.0.1"), net.ParseIP(c.host)}
	if err := ca.server("apiserver", names, addresses); err != nil {
		return err
	}
	if err := ca.server(kubeletServer, nil, []net.IP{net.ParseIP(c.host)}); err != nil {
		return err
	}
	if err := ca.client(kubeletClient, kubeletClient); err != nil {
		return err
	}
	for _, u := range users {
		var groups []string
		if u.group != "" {
			groups = []string{u.group}
		}
		if err := ca.client(u.name, u.user, groups...); err != nil {
			return err
		}
		if err := writeKubeconfig(c.kubeconfig(u.name), c.server(), ca.certFile(), c.pki(u.name+".crt"), c.pki(u.name+".key")); err != nil {
			return err
		}
	}
	return nil
}

// webhookClients is the authority of the key that the API server shows to
// webhooks, and webhookClient that key.
const webhookClients, webhookClient = "webhook-clients", "webhook-client"

// writeWebhookClient has the API server show a certificate to every webhook.
func (c *controlPlaneConfig) writeWebhookClient() error {
	ca, err := newAuthority(c.certs(), webhookClients)
	if err != nil {
		return err
	}
	if err := ca.client(webhookClient, APIServer); err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.AuthInfos["*"] = &clientcmdapi.AuthInfo{ClientCertificate: c.pki(webhookClient + ".crt"), ClientKey: c.pki(webhookClient + ".key")}
	if err := clientcmd.WriteToFile(*config, c.dir.join("webhooks.kubeconfig")); err != nil {
		return err
	}
	return os.WriteFile(c.dir.join("admission.yaml"), []byte(`apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: ValidatingAdmissionWebhook
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: WebhookAdmissionConfiguration
      kubeConfigFile: `+c.dir.join("webhooks.kubeconfig")+"\n"), 0o644)
}

// TrustWebhookClients writes the certificate of the authority that signed what
// the API server shows to webhooks into a ConfigMap, as its key ca.crt.
func (c *Cluster) TrustWebhookClients(ctx context.Context, namespace, name string) error {
	text, err := os.ReadFile(filepath.Join(c.dir.join("pki"), webhookClients+".crt"))
	if err != nil {
		return err
	}
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"ca.crt": string(text)}},
	}
	for _, object := range objects {
		if err := c.Client().Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

func (c *controlPlaneConfig) url(scheme string, port int) string {
	return scheme + "://" + net.JoinHostPort(c.host, strconv.Itoa(port))
}

// etcdArgs: nothing here outlives the cluster, so nothing waits for a disk.
func (c *controlPlaneConfig) etcdArgs() []string {
	client, peer := c.url("http", c.ports.etcd), c.url("http", c.ports.etcdPeer)
	return []string{
		"--name=local", "--data-dir=" + c.dir.join("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=local=" + peer,
		"--quota-backend-bytes=4294967296", "--log-level=warn",
	}
}

func (c *controlPlaneConfig) apiServerArgs() []string {
	advertise := c.host
	if !c.routing { // loopback addresses may not be advertised; nobody dials this one
		advertise = "192.0.2.1"
	}
	args := []string{
		"--etcd-servers=" + c.url("http", c.ports.etcd),
		"--bind-address=" + c.host, "--secure-port=" + strconv.Itoa(c.ports.apiServer),
		"--advertise-address=" + advertise, "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file=" + c.pki("apiserver.crt"), "--tls-private-key-file=" + c.pki("apiserver.key"),
		"--client-ca-file=" + c.pki("ca.crt"),
		// The kubelet of a real node shows a certificate that it made itself.
		"--kubelet-client-certificate=" + c.pki(kubeletClient+".crt"), "--kubelet-client-key=" + c.pki(kubeletClient+".key"),
		"--admission-control-config-file=" + c.dir.join("admission.yaml"),
		"--authorization-mode=RBAC", "--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.pki("service-accounts.pub"),
		"--service-account-signing-key-file=" + c.pki("service-accounts.key"),
		"--requestheader-client-ca-file=" + c.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + c.pki("front-proxy-client.key"),
		"--enable-aggregator-routing=" + strconv.FormatBool(c.routing),
		"--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000",
	}
	if !c.options.NoAudit {
		args = append(args,
			"--audit-policy-file="+c.dir.join("audit-policy.yaml"),
			"--audit-log-path="+c.dir.join("logs", "audit.log"),
			"--audit-log-format=json", "--audit-log-maxsize=100000")
	}
	return args
}

// controllerManagerArgs leave the HPA controller at its defaults: what it does
// here is what it does to users.
func (c *controlPlaneConfig) controllerManagerArgs() []string {
	args := []string{
		"--kubeconfig=" + c.kubeconfig(ControllerManager),
		"--bind-address=" + c.host, "--secure-port=" + strconv.Itoa(c.ports.controllerManager),
		"--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
		"--use-service-account-credentials", "--leader-elect=false",
		"--service-account-private-key-file=" + c.pki("service-accounts.key"),
		"--root-ca-file=" + c.pki("ca.crt"),
	}
	if qps := c.options.ControllerQPS; qps > 0 {
		args = append(args, fmt.Sprintf("--kube-api-qps=%d", qps), fmt.Sprintf("--kube-api-burst=%d", 2*qps))
	}
	return args
}

func (c *controlPlaneConfig) schedulerArgs() []string {
	return []string{
		"--kubeconfig=" + c.kubeconfig(Scheduler), "--leader-elect=false",
		"--bind-address=" + c.host, "--secure-port=" + strconv.Itoa(c.ports.scheduler),
	}
}

// kwokArgs: without a lease duration nodes become NotReady after 40 s, and
// every Pod with them.
func (c *controlPlaneConfig) kwokArgs() []string {
	return []string{
		"--kubeconfig=" + c.kubeconfig("kwok"), "--config=" + c.dir.join("kwok.yaml"),
		"--manage-nodes-with-annotation-selector=" + fakeNode + "=fake",
		"--node-lease-duration-seconds=40", "--cidr=10.244.0.0/16",
		"--server-address=" + net.JoinHostPort(c.host, strconv.Itoa(c.ports.kwok)),
	}
}

// roles are in the order of their start.
func (c *controlPlaneConfig) roles(launch launchFunc) []*Process {
	role := func(name string, args func() []string) *Process {
		return newProcess(name, c.dir.join("logs", name+".log"), launch, func() (*exec.Cmd, error) {
			cmd := exec.Command(filepath.Join(c.binDir, name), args()...) //nolint:noctx // runs until Process.stop
			cmd.Dir = c.dir.path
			if percent := c.options.GCPercent; percent > 0 {
				cmd.Env = append(os.Environ(), fmt.Sprintf("GOGC=%d", percent))
			}
			return cmd, nil
		})
	}
	return []*Process{
		role(Etcd, c.etcdArgs),
		role(APIServer, c.apiServerArgs),
		role(ControllerManager, c.controllerManagerArgs),
		role(Scheduler, c.schedulerArgs),
		role(Kwok, c.kwokArgs),
	}
}

// pollEvery is how often something that cannot be watched is asked for.
const pollEvery = 50 * time.Millisecond

// waitAnswers waits until a role answers 200 at a URL. It gives up when ctx is
// over or the role has ended.
func (c *controlPlaneConfig) waitAnswers(ctx context.Context, role *Process, url string) error {
	client, err := c.httpClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		last := get(ctx, client, url, io.Discard)
		if last == nil {
			return nil
		}
		select {
		case <-role.Done():
			return fmt.Errorf("%s ended while starting (%s):\n%s", role.Name(), fmt.Sprint(role.Err()), role.LogTail(20))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w):\n%s", role.Name(), ctx.Err(), last, role.LogTail(20))
		case <-tick.C:
		}
	}
}

// httpClient asks as admin. It accepts the roles' self-signed certificates,
// which they make up at each start and publish nowhere.
func (c *controlPlaneConfig) httpClient() (*http.Client, error) {
	pair, err := tls.LoadX509KeyPair(c.pki("admin.crt"), c.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{
			Certificates:       []tls.Certificate{pair},
			InsecureSkipVerify: true, // see above; everything is on this machine
			MinVersion:         tls.VersionTLS12,
		}},
	}, nil
}

// StatusError is an answer that is not 200.
type StatusError struct {
	URL  string
	Code int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.URL, e.Code, http.StatusText(e.Code))
}

// get copies the body of an answer 200 into out.
func get(ctx context.Context, client *http.Client, url string, out io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return &StatusError{URL: url, Code: response.StatusCode}
	}
	_, err = io.Copy(out, response.Body)
	return err
}
