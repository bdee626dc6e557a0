package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// planted is part of every credential of this file. Nothing that anybody can
// see may have it.
const planted = "pl4nted"

// Users of the brokers, and what their passwords are.
const (
	login      = "ann"
	scramLogin = "scram"
	password   = planted + "-first"
	renewed    = planted + "-second"
)

// kafkaUsers can log in to the shared Kafka.
var kafkaUsers = map[string]string{login: password, scramLogin: password}

// credentials are Secrets and authentication objects of one namespace.
type credentials struct {
	t         *testing.T
	namespace string
}

func (c credentials) apply(object map[string]any) {
	c.t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := world.cluster.ApplyYAML(c.t.Context(), string(text)); err != nil {
		c.t.Fatal(err)
	}
}

// secret makes or changes a Secret.
func (c credentials) secret(name string, data map[string]string) {
	c.t.Helper()
	c.apply(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": c.namespace, "name": name}, "stringData": data,
	})
}

// authentication makes a TriggerAuthentication that takes all its parameters
// from the Secret of the same name.
func (c credentials) authentication(name string, parameters ...string) {
	c.t.Helper()
	var refs []map[string]string
	for _, parameter := range parameters {
		refs = append(refs, map[string]string{"parameter": parameter, "name": name, "key": parameter})
	}
	c.apply(map[string]any{
		"apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
		"metadata": map[string]any{"namespace": c.namespace, "name": name},
		"spec":     map[string]any{"secretTargetRef": refs},
	})
}

// authenticated makes a spec whose trigger has more than metadata.
func authenticated(trigger brokers.Trigger, metadata map[string]string, more map[string]any) spec {
	s := quick()
	all := map[string]any{"type": trigger.Type, "metadata": merged(trigger.Metadata, metadata)}
	for key, value := range more {
		all[key] = value
	}
	s["pollingInterval"], s["triggers"] = 1, []map[string]any{all}
	return s
}

// merged has both; an empty value of the second removes the key.
func merged(a, b map[string]string) map[string]string {
	all := map[string]string{}
	for _, values := range []map[string]string{a, b} {
		for key, value := range values {
			all[key] = value
			if value == "" {
				delete(all, key)
			}
		}
	}
	return all
}

func authenticationRef(name string) map[string]any {
	return map[string]any{"authenticationRef": map[string]any{"name": name}}
}

// grantCommand is what a message tells an administrator to run.
var grantCommand = regexp.MustCompile(`to grant it: (kubectl create rolebinding [^;]*--serviceaccount=[-:a-z0-9]+)`)

// grant does what the object's Ready condition says.
func (o object) grant() {
	o.t.Helper()
	o.waitCondition("Ready", "False", "to grant it: kubectl create rolebinding")
	command := grantCommand.FindStringSubmatch(o.condition("Ready")["message"])
	if command == nil {
		o.t.Fatalf("no command in %s", o.describe())
	}
	cmd := exec.CommandContext(o.t.Context(), "sh", "-c", command[1])
	cmd.Env = []string{"PATH=" + filepath.Dir(world.cluster.Kubectl()), "KUBECONFIG=" + world.cluster.Kubeconfig(), "HOME=" + o.t.TempDir()}
	if output, err := cmd.CombinedOutput(); err != nil {
		o.t.Fatalf("%s: %v\n%s", command[1], err, output)
	}
}

// waitEvent waits until an event about the object has the text.
func (o object) waitEvent(text string) {
	o.t.Helper()
	o.wait("an event with "+text, func() (bool, string) {
		events := &corev1.EventList{}
		if err := world.cluster.Client().List(o.t.Context(), events, client.InNamespace(o.namespace)); err != nil {
			o.t.Fatal(err)
		}
		var saw []string
		for _, e := range events.Items {
			if e.InvolvedObject.Name != o.name {
				continue
			}
			if strings.Contains(e.Message, text) {
				return true, ""
			}
			saw = append(saw, e.Reason+": "+e.Message)
		}
		return false, strings.Join(saw, "\n")
	})
}

// TestCredentials scales on brokers that want to know who asks, in every way
// that a user can say it, from the refusal that names the missing right to a
// rotated password.
func TestCredentials(t *testing.T) {
	t.Parallel()
	c := credentials{t, namespace(t)}
	queues := map[string]brokers.Queue{}
	rabbit, kafka := c.onRabbitMQ(queues), c.onKafka(queues)

	// Nothing is granted yet: each family says how it would be.
	rabbit["amqp"].grant()
	rabbit["amqp"].waitEvent("to grant it: kubectl create rolebinding scaler-rabbitmq")
	kafka["plain"].grant()
	rabbit["cluster"].grant()
	for _, objects := range []map[string]object{rabbit, kafka} {
		for _, o := range objects {
			o.waitReplicas(3)
			o.waitCondition("Ready", "True", "")
		}
	}

	t.Run("a password that changes on the running RabbitMQ", func(t *testing.T) {
		o := rabbit["amqp"].in(t)
		if err := world.rabbitmq.AddUser(t.Context(), login, renewed, ""); err != nil {
			t.Fatal(err)
		}
		gone := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "amqp"}}
		if err := world.cluster.Client().Delete(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		// A connection that stands is not asked again who it is. Refused, the
		// family looks at the Secret at once.
		if err := world.rabbitmq.Manage(t.Context(), http.MethodDelete, "/api/connections/username/"+login, nil); err != nil {
			t.Fatal(err)
		}
		o.waitCondition("Ready", "False", "secretTargetRef[0] (username): Secret "+c.namespace+"/amqp does not exist")
		o.unmoved(3)
		c.secret("amqp", map[string]string{"username": login, "password": renewed})
		o.waitCondition("Ready", "True", "")
		if err := queues["amqp"].Produce(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(5)
	})
	t.Run("a password that changes on the running Kafka", func(t *testing.T) {
		o := kafka["scram-512"].in(t)
		setSCRAM(t, renewed)
		o.waitCondition("Ready", "False", "SASL_AUTHENTICATION_FAILED")
		o.unmoved(3)
		c.secret("scram-512", map[string]string{"username": scramLogin, "password": renewed})
		o.waitCondition("Ready", "True", "")
		if err := queues["scram-512"].Produce(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(5)
	})
	t.Run("nothing of it is seen", func(t *testing.T) { checkUnseen(t, c.namespace) })
}

// TestSecretsOfEachTeam has one ClusterTriggerAuthentication used by four teams,
// each with a Secret of its own in its own namespace: one of them is missing, and
// one may not be read. Those two say so, and nobody else waits.
func TestSecretsOfEachTeam(t *testing.T) {
	t.Parallel()
	shared := "teams-" + namespace(t)
	cluster := func(annotation string, spec map[string]any) error {
		text, err := json.Marshal(map[string]any{
			"apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication",
			"metadata": map[string]any{"name": shared, "annotations": map[string]string{
				"sluice.dev/secret-namespace": annotation, "sluice.dev/allowed-namespaces": "e2e-*",
			}},
			"spec": spec,
		})
		if err != nil {
			t.Fatal(err)
		}
		return world.cluster.ApplyYAML(t.Context(), string(text))
	}
	var refs []map[string]string
	for _, parameter := range []string{"username", "password"} {
		refs = append(refs, map[string]string{"parameter": parameter, "name": "team", "key": parameter})
	}
	ofTeams := map[string]any{"secretTargetRef": refs}
	for annotation, refusal := range map[string]string{
		"team":   `annotation sluice.dev/secret-namespace: "team" is not object`,
		"object": "podIdentity: cannot be beside annotation sluice.dev/secret-namespace: object",
	} {
		err := cluster(annotation, map[string]any{"secretTargetRef": refs, "podIdentity": map[string]string{"provider": "azure-workload"}})
		if err == nil || !strings.Contains(err.Error(), refusal) {
			t.Errorf("annotation %s: %v, want %s", annotation, err, refusal)
		}
	}
	if err := cluster("object", ofTeams); err != nil {
		t.Fatal(err)
	}

	ctx, r := t.Context(), world.rabbitmq
	teams, queues := map[string]object{}, map[string]brokers.Queue{}
	secret := func(team string) {
		credentials{t, teams[team].namespace}.secret("team", map[string]string{"username": "team-" + team, "password": planted + "-" + team})
	}
	for _, team := range []string{"red", "blue", "without-secret", "without-grant"} {
		name := "team-" + team // of user and vhost: no other user sees it
		for _, err := range []error{
			r.AddVhost(ctx, name), r.AddUser(ctx, name, planted+"-"+team, ""), r.Grant(ctx, name, name, "", "", ".*"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		queue, err := brokers.NewRabbitMQQueue(r.AMQPURL(name), "", "work")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(queue.Close)
		if err := queue.Produce(ctx, 15); err != nil {
			t.Fatal(err)
		}
		queues[team], teams[team] = queue, object{t, namespace(t), "worker"}
		if team != "without-secret" {
			secret(team)
		}
		if team != "without-grant" {
			grant(t, teams[team].namespace, "rabbitmq", "sluice-scaler-credentials")
		}
		teams[team].deployment(0)
		teams[team].apply(authenticated(queue.Trigger(5), map[string]string{"host": "amqp://" + r.AMQPAddr(), "vhostName": name},
			map[string]any{"authenticationRef": map[string]any{"kind": "ClusterTriggerAuthentication", "name": shared}}))
	}

	absent := teams["without-secret"]
	absent.waitCondition("Ready", "False", "Secret "+absent.namespace+"/team does not exist")
	teams["without-grant"].waitCondition("Ready", "False", "may not get Secret "+teams["without-grant"].namespace+"/team")
	for _, team := range []string{"red", "blue"} {
		teams[team].waitReplicas(3)
		teams[team].waitCondition("Ready", "True", "")
	}
	absent.unmoved(0)
	teams["without-grant"].unmoved(0)

	teams["without-grant"].grant()
	secret("without-secret")
	for _, team := range []string{"without-grant", "without-secret"} {
		teams[team].waitReplicas(3)
		teams[team].waitCondition("Ready", "True", "")
	}

	// One team loses its Secret while all are at work.
	gone := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: teams["red"].namespace, Name: "team"}}
	if err := world.cluster.Client().Delete(ctx, gone); err != nil {
		t.Fatal(err)
	}
	teams["red"].waitCondition("Ready", "False", "Secret "+teams["red"].namespace+"/team does not exist")
	if err := queues["blue"].Produce(ctx, 10); err != nil {
		t.Fatal(err)
	}
	teams["blue"].waitReplicas(5)
	teams["blue"].waitCondition("Ready", "True", "")
	teams["red"].unmoved(3)
}

// in is the object within a subtest.
func (o object) in(t *testing.T) object {
	o.t = t
	return o
}

// unmoved checks that the object kept its replicas.
func (o object) unmoved(count int32) {
	o.t.Helper()
	if have := o.replicas(); have != count {
		o.t.Errorf("%d replicas, want the %d that there were: %s", have, count, o.describe())
	}
}

// vhost is where the user of these scenarios may look at queues.
const vhost = "credentials"

// onRabbitMQ makes one object for each way to log in, with work for three
// replicas.
func (c credentials) onRabbitMQ(queues map[string]brokers.Queue) map[string]object {
	c.t.Helper()
	ctx, r := c.t.Context(), world.rabbitmq
	for _, err := range []error{
		r.AddVhost(ctx, vhost),
		r.AddUser(ctx, login, password, ""), r.Grant(ctx, vhost, login, "", "", ".*"),
		r.AddUser(ctx, "certified", "", ""), r.Grant(ctx, vhost, "certified", "", "", ".*"),
	} {
		if err != nil {
			c.t.Fatal(err)
		}
	}
	c.secret("amqp", map[string]string{"username": login, "password": password})
	c.authentication("amqp", "username", "password")
	certificate, key, err := r.Authority.Client("certified")
	if err != nil {
		c.t.Fatal(err)
	}
	c.secret("external", map[string]string{"ca": string(r.Authority.CA), "cert": string(certificate), "key": string(key), "tls": "enable"})
	c.authentication("external", "ca", "cert", "key", "tls")
	c.shared()

	bare := map[string]string{"host": "amqp://" + r.AMQPAddr(), "vhostName": vhost}
	inline := []map[string]string{
		{"parameter": "username", "name": "amqp", "key": "username"},
		{"parameter": "password", "name": "amqp", "key": "password"},
	}
	ways := map[string]struct {
		metadata map[string]string
		more     map[string]any
	}{
		"amqp":     {bare, authenticationRef("amqp")},
		"external": {map[string]string{"host": r.AMQPSURL(vhost)}, authenticationRef("external")},
		"env":      {map[string]string{"host": "", "hostFromEnv": "URL"}, nil},
		"inline":   {bare, map[string]any{"secretKeyRef": inline}},
		"cluster":  {bare, map[string]any{"authenticationRef": map[string]any{"kind": "ClusterTriggerAuthentication", "name": c.namespace}}},
	}
	objects := map[string]object{}
	for name, way := range ways {
		queue, err := brokers.NewRabbitMQQueue(r.AMQPURL(vhost), "", "credentials-"+name)
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(queue.Close)
		queues[name] = queue
		if err := queue.Produce(c.t.Context(), 15); err != nil {
			c.t.Fatal(err)
		}
		o := object{c.t, c.namespace, "rabbitmq-" + name}
		if name == "env" {
			c.withEnvironment(o.name, "amqp://$(NAME):$(PASSWORD)@"+r.AMQPAddr()+"/"+vhost)
		} else {
			o.deployment(0)
		}
		o.apply(authenticated(queue.Trigger(5), way.metadata, way.more))
		objects[name] = o
	}
	return objects
}

// shared makes a ClusterTriggerAuthentication that this namespace and RabbitMQ
// alone may use.
func (c credentials) shared() {
	c.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "keda"}}
	if err := world.cluster.Client().Create(c.t.Context(), ns); err != nil && !apierrors.IsAlreadyExists(err) {
		c.t.Fatal(err)
	}
	host, _, _ := strings.Cut(world.rabbitmq.AMQPAddr(), ":")
	cluster := credentials{c.t, "keda"}
	cluster.secret(c.namespace, map[string]string{"username": login, "password": password})
	c.apply(map[string]any{
		"apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication",
		"metadata": map[string]any{"name": c.namespace, "annotations": map[string]string{
			"sluice.dev/allowed-namespaces": "e2e-*", "sluice.dev/allowed-hosts": host,
		}},
		"spec": map[string]any{"secretTargetRef": []map[string]string{
			{"parameter": "username", "name": c.namespace, "key": "username"},
			{"parameter": "password", "name": c.namespace, "key": "password"},
		}},
	})
}

// withEnvironment makes a Deployment whose container gets an address that is
// put together from a Secret.
func (c credentials) withEnvironment(name, address string) {
	c.t.Helper()
	from := func(key string) map[string]any {
		return map[string]any{"secretKeyRef": map[string]any{"name": "amqp", "key": key}}
	}
	c.deploymentWith(name, []map[string]any{
		{"name": "NAME", "valueFrom": from("username")},
		{"name": "PASSWORD", "valueFrom": from("password")},
		{"name": "URL", "value": address},
	})
}

// deploymentWith makes a Deployment whose container has these variables.
func (c credentials) deploymentWith(name string, env []map[string]any) {
	c.t.Helper()
	labels := map[string]string{"app": name}
	c.apply(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"namespace": c.namespace, "name": name},
		"spec": map[string]any{
			"replicas": 0, "selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels},
				"spec":     map[string]any{"containers": []map[string]any{{"name": "app", "image": "app.invalid/app", "env": env}}},
			},
		},
	})
}

// onKafka does the same with Kafka.
func (c credentials) onKafka(queues map[string]brokers.Queue) map[string]object {
	c.t.Helper()
	k := world.kafka
	c.secret("plain", map[string]string{"username": login, "password": password, "sasl": "plaintext"})
	c.authentication("plain", "username", "password", "sasl")
	for _, name := range []string{"scram-256", "scram-512"} {
		c.secret(name, map[string]string{"username": scramLogin, "password": password})
		c.authentication(name, "username", "password")
	}
	certificate, key, err := k.Authority.Client("certified")
	if err != nil {
		c.t.Fatal(err)
	}
	c.secret("certificate", map[string]string{"ca": string(k.Authority.CA), "cert": string(certificate), "key": string(key), "tls": "enable"})
	c.authentication("certificate", "ca", "cert", "key", "tls")
	ways := map[string]map[string]string{
		"plain":       {"bootstrapServers": k.BootstrapSASL()},
		"scram-256":   {"bootstrapServers": k.BootstrapSASL(), "sasl": "scram_sha256"},
		"scram-512":   {"bootstrapServers": k.BootstrapSASL(), "sasl": "scram_sha512"},
		"certificate": {"bootstrapServers": k.BootstrapTLS()},
	}
	objects := map[string]object{}
	for name, metadata := range ways {
		topic := kafkaTopic(c.t, "credentials-"+name)
		queues[name] = topic
		if err := topic.Produce(c.t.Context(), 15); err != nil {
			c.t.Fatal(err)
		}
		objects[name] = scale(c.t, c.namespace, "kafka-"+name, 0, authenticated(topic.Trigger(5), metadata, authenticationRef(name)))
	}
	return objects
}

// setSCRAM changes a user's password on the running brokers. They ask those who
// are connected again every few seconds.
func setSCRAM(t *testing.T, password string) {
	t.Helper()
	kafka, err := kgo.NewClient(kgo.SeedBrokers(world.kafka.Bootstrap()))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	answers, err := kadm.NewClient(kafka).AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{
		{User: scramLogin, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: password},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := answers[scramLogin].Err; err != nil {
		t.Fatal(err)
	}
}

// checkUnseen looks for what was planted wherever somebody could see it.
func checkUnseen(t *testing.T, namespace string) {
	for _, instance := range world.cluster.Instances("") {
		text, err := os.ReadFile(instance.LogFile())
		if err != nil {
			t.Fatal(err)
		}
		unseen(t, "log of "+instance.Name(), text)
	}
	for _, kind := range []string{"scaledobjects.keda.sh", "triggerauthentications.keda.sh", "horizontalpodautoscalers", "events", "deployments"} {
		cmd := exec.CommandContext(t.Context(), world.cluster.Kubectl(), "--kubeconfig", world.cluster.Kubeconfig(), "get", kind, "-n", namespace, "-o", "json")
		text, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		unseen(t, kind, text)
	}
	for _, component := range []string{"controller", "metrics-adapter", "scaler-rabbitmq", "scaler-kafka"} {
		for _, instance := range world.cluster.Instances(component) {
			metrics, err := world.cluster.InstanceMetrics(t.Context(), instance, "metrics")
			if err != nil {
				t.Fatal(err)
			}
			unseen(t, "metrics of "+instance.Name(), []byte(fmt.Sprint(metrics)))
		}
	}
	// The core has never had it, so it is nowhere in its memory.
	for _, component := range []string{"controller", "metrics-adapter"} {
		for _, instance := range world.cluster.Instances(component) {
			searchMemory(t, instance)
		}
	}
}

func unseen(t *testing.T, where string, text []byte) {
	t.Helper()
	if at := bytes.Index(text, []byte(planted)); at >= 0 {
		t.Errorf("%s: ...%s...", where, text[max(0, at-100):min(len(text), at+50)])
	}
}
