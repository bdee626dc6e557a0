package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Cluster is a running control plane with what was installed on it. Its
// methods may be called from any goroutine.
type Cluster struct {
	options Options
	dir     *clusterDir
	network network
	plane   *controlPlaneConfig
	roles   []*Process
	kubelet *kubelet
	door    *door

	config     *rest.Config
	httpClient *http.Client // shared by the two below
	clientset  *kubernetes.Clientset
	client     client.Client

	programs sync.Mutex // held while a program is copied

	stop    sync.Once
	stopErr error
}

// Start runs a control plane and returns when its API answers, its nodes are
// Ready and its namespaces have their ServiceAccounts. ctx bounds the start
// alone; the cluster runs until Stop, or until this process ends, however it
// ends.
//
// The binaries must have been built (Build). Several clusters may run side by
// side in one process, if it called Enter.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: options}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) (err error) {
	began := time.Now()
	if c.network, err = c.options.newNetwork(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if c.dir, err = newClusterDir(c.options.Parent); err != nil {
		return fmt.Errorf("folder of the cluster: %w", err)
	}
	ports, err := portsFor(c.network)
	if err != nil {
		return fmt.Errorf("ports: %w", err)
	}
	c.plane = &controlPlaneConfig{
		dir:     c.dir,
		binDir:  filepath.Join(c.options.Repo, "bin", "cluster"),
		host:    c.network.address().String(),
		ports:   ports,
		options: c.options,
		routing: c.network.isolated(),
	}
	if err := c.plane.writeFiles(); err != nil {
		return fmt.Errorf("files of the control plane: %w", err)
	}
	if err := c.connect(); err != nil {
		return err
	}
	c.roles = c.plane.roles(c.network.launch)
	if err := c.startRoles(ctx); err != nil {
		return err
	}
	if err := c.startNodes(ctx); err != nil {
		return err
	}
	c.progress("cluster ready in %.1fs, kubeconfig %s", time.Since(began).Seconds(), c.Kubeconfig())
	return nil
}

// connect makes the clients; they are lazy and need no server yet.
func (c *Cluster) connect() (err error) {
	if c.config, err = c.configFor("runner"); err != nil {
		return err
	}
	if c.httpClient, err = rest.HTTPClientFor(c.config); err != nil {
		return err
	}
	c.clientset, err = kubernetes.NewForConfigAndClient(c.config, c.httpClient)
	return err
}

// configFor has no request limit: a test waits for the server, not for us.
func (c *Cluster) configFor(user string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.plane.kubeconfig(user))
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	// Files would be watched for ever; these never change.
	return config, rest.LoadTLSFiles(config)
}

// startRoles starts all roles at once: each waits for those it needs by
// itself, and the time of the start is that of the slowest.
func (c *Cluster) startRoles(ctx context.Context) error {
	for _, role := range c.roles {
		if role.Name() == Kwok || role.Name() == ControllerManager || role.Name() == Scheduler {
			continue // these end when the API server does not answer yet
		}
		if err := role.Start(); err != nil {
			return err
		}
	}
	if err := c.plane.waitAnswers(ctx, c.Role(APIServer), c.plane.server()+"/readyz"); err != nil {
		return err
	}
	c.progress("kube-apiserver answers at %s", c.plane.server())
	for _, name := range []string{ControllerManager, Scheduler, Kwok} {
		if c.options.Bare && name == Kwok {
			continue
		}
		if err := c.Role(name).Start(); err != nil {
			return err
		}
	}
	return nil
}

// startNodes gives the cluster its nodes and waits for what every user may
// count on: Ready nodes, and a default ServiceAccount, which shows that
// kube-controller-manager is at work.
func (c *Cluster) startNodes(ctx context.Context) (err error) {
	if c.client, err = client.New(c.config, client.Options{Scheme: clientScheme(), HTTPClient: c.httpClient}); err != nil {
		return err
	}
	want := 0
	if !c.options.Bare {
		want = c.options.Nodes + 1
		if err := createFakeNodes(ctx, c.clientset, c.options.Nodes); err != nil {
			return err
		}
		if c.kubelet, err = startKubelet(ctx, c); err != nil {
			return fmt.Errorf("node for our own Pods: %w", err)
		}
	}
	if c.options.Door != nil {
		if c.door, err = openDoorTo(ctx, c); err != nil {
			return err
		}
	}
	if err := c.plane.waitAnswers(ctx, c.Role(ControllerManager), c.plane.url("https", c.plane.ports.controllerManager)+"/healthz"); err != nil {
		return err
	}
	if err := c.plane.waitAnswers(ctx, c.Role(Scheduler), c.plane.url("https", c.plane.ports.scheduler)+"/healthz"); err != nil {
		return err
	}
	return waitFor(ctx, "nodes and ServiceAccounts", func(ctx context.Context) (bool, error) {
		nodes, err := c.clientset.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil || len(nodes.Items) < want {
			return false, err
		}
		for _, node := range nodes.Items {
			if !nodeReady(&node) {
				return false, nil
			}
		}
		accounts, err := c.clientset.CoreV1().ServiceAccounts("default").List(ctx, metav1.ListOptions{})
		return err == nil && len(accounts.Items) > 0, err
	})
}

func nodeReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue && (len(node.Spec.Taints) == 0 || node.Name == processNode)
		}
	}
	return false
}

// waitFor asks until the answer is yes, and says at the end what it waited for
// and how the last question went.
func waitFor(ctx context.Context, what string, ask func(context.Context) (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		ok, err := ask(ctx)
		if ok {
			return nil
		}
		if ctx.Err() == nil {
			last = err // one that ctx made says nothing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, errors.Join(ctx.Err(), last))
		case <-tick.C:
		}
	}
}

// clientScheme knows Kubernetes' own kinds; other kinds go as unstructured.
func clientScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	_ = clientgoscheme.AddToScheme(scheme) // fails for conflicting types alone
	return scheme
}

// stopGrace is how long our own processes get to end by themselves.
const stopGrace = 10 * time.Second

// Stop ends every process of the cluster, waits for their end and removes its
// network and folder. A second call returns what the first did.
func (c *Cluster) Stop() error {
	c.stop.Do(func() { c.stopErr = c.stopAll() })
	return c.stopErr
}

func (c *Cluster) stopAll() error {
	var errs []error
	if c.door != nil {
		errs = append(errs, c.door.close())
	} else if c.options.Door != nil {
		errs = append(errs, c.options.Door.Close())
	}
	if c.kubelet != nil {
		errs = append(errs, c.kubelet.stop())
	}
	// Nothing of the control plane is kept, so it need not end in order.
	for i := len(c.roles) - 1; i >= 0; i-- {
		errs = append(errs, c.roles[i].Kill())
	}
	if c.httpClient != nil {
		c.httpClient.CloseIdleConnections()
	}
	if c.network != nil {
		errs = append(errs, c.network.close())
	}
	if c.dir != nil && c.options.Keep {
		c.dir.unlock()
	} else if c.dir != nil {
		errs = append(errs, c.dir.remove())
	}
	return errors.Join(errs...)
}
