package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestCertManagerAndKEDAIdentity runs an installation with another authority,
// which is late, and a family under the account that KEDA had. A family starts
// before the core and one after it, nobody has a key at first, and keys are
// renewed later: each process waits, works and changes its key in one life.
func TestCertManagerAndKEDAIdentity(t *testing.T) {
	t.Parallel()
	c := anotherCluster(t)
	queue := rabbitMQQueue(t, "keda-identity", world.rabbitmq.AMQPURL("/"))
	all := c.render()

	first := c.begin(all.without("scaler-cron", "controller", "metrics-adapter"), "scaler-rabbitmq")
	all.lead("scaler-rabbitmq", c.addressBehind("keda", "scaler-rabbitmq", first["scaler-rabbitmq"]))
	processes := c.begin(all.without("scaler-cron"), "scaler-rabbitmq", "controller", "metrics-adapter")
	if first["scaler-rabbitmq"] != processes["scaler-rabbitmq"] {
		t.Fatal("the family was started again")
	}
	for component, i := range processes {
		c.waitsForItsKey(component, i)
	}
	c.apply(fmt.Sprintf(scaledByRabbitMQ, queue.Trigger(5).Metadata["queueName"], world.rabbitmq.AMQPURL("/")))

	authority := newIssuer(t, c)
	authority.sign()
	c.install(all.without("scaler-cron"))

	// What the message of the object says is what lets the account read.
	c.wait("the command that grants it", func() (bool, string) {
		text := c.condition("orders", "Ready")
		return strings.Contains(text, "ServiceAccount keda/keda-operator may not get Secret shop/rabbitmq") &&
			strings.Contains(text, "--serviceaccount=keda:keda-operator"), text
	})
	c.apply(grantToKEDA)
	if err := queue.Produce(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	c.waitReplicas("orders", 4)

	// The core is there long before this family, and so is the family's key.
	c.apply(scaledByCron)
	c.wait("the family missing", func() (bool, string) {
		text := c.condition("always", "Ready")
		return strings.Contains(text, "Service scaler-cron not found"), text
	})
	c.install(all)
	c.waitReplicas("always", 3)
	processes["scaler-cron"] = c.only("scaler-cron")

	before := map[string]int{}
	for component, i := range processes {
		before[component] = i.PID()
	}
	authority.sign()
	for component, i := range processes {
		c.wait(component+" with its new key", func() (bool, string) {
			serial, want := serves(t, component, i), authority.serials[component+"-tls"]
			return serial == want, fmt.Sprintf("serial %s, want %s", serial, want)
		})
	}
	// The HPA alone goes from 4 to 8: it asks the API server, which asks the
	// adapter, which asks the family.
	if err := queue.Produce(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	c.waitReplicas("orders", 8)
	for component, i := range processes {
		if i.PID() != before[component] || i.Restarts() != 0 {
			t.Errorf("%s was restarted", component)
		}
	}
	requests, err := c.CheckIdentities()
	if err != nil {
		t.Error(err)
	}
	if requests["system:serviceaccount:keda:keda-operator"] == 0 {
		t.Error("nobody came as keda-operator")
	}
}

const scaledByRabbitMQ = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: shop, name: orders}
spec:
  replicas: 0
  selector: {matchLabels: {app: orders}}
  template: {metadata: {labels: {app: orders}}, spec: {containers: [{name: app, image: app}]}}
---
{apiVersion: v1, kind: Secret, metadata: {namespace: shop, name: rabbitmq}, stringData: {host: %[2]q}}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {namespace: shop, name: rabbitmq}
spec: {secretTargetRef: [{parameter: host, name: rabbitmq, key: host}]}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: shop, name: orders}
spec:
  scaleTargetRef: {name: orders}
  pollingInterval: 1
  triggers:
    - type: rabbitmq
      metadata: {queueName: %[1]q, mode: QueueLength, value: "5"}
      authenticationRef: {name: rabbitmq}
`

const grantToKEDA = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: shop, name: keda-operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sluice-scaler-credentials}
subjects: [{kind: ServiceAccount, name: keda-operator, namespace: keda}]
`

const scaledByCron = `
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: shop, name: always}
spec:
  replicas: 0
  selector: {matchLabels: {app: always}}
  template: {metadata: {labels: {app: always}}, spec: {containers: [{name: app, image: app}]}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: shop, name: always}
spec:
  scaleTargetRef: {name: always}
  triggers: [{type: cron, metadata: {timezone: UTC, start: 0 0 1 1 *, end: 59 23 31 12 *, desiredReplicas: "3"}}]
`

// another is a cluster beside the world's.
type another struct {
	*localcluster.Cluster
	t *testing.T
}

func anotherCluster(t *testing.T) another {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cluster, err := localcluster.Start(ctx, localcluster.Options{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	return another{cluster, t}
}

type manifests []*unstructured.Unstructured

// render builds the installation as the guide describes it: a layer for the
// family that is KEDA's, cert-manager after all families.
func (c another) render() manifests {
	c.t.Helper()
	objects := c.layer(map[string]string{
		"kustomization.yaml": `
resources: [DEPLOY/core, DEPLOY/scalers/cron, ./rabbitmq, DEPLOY/components/keda-identity/account]
components: [DEPLOY/images, DEPLOY/components/cert-manager]`,
		"rabbitmq/kustomization.yaml": `
resources: [../DEPLOY/scalers/rabbitmq]
components: [../DEPLOY/components/keda-identity]`,
	})
	c.apply(certManager)
	return objects
}

// layer are the objects of a kustomization, whose files name the repository's
// manifests as DEPLOY.
func (c another) layer(files map[string]string) manifests {
	c.t.Helper()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		c.t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(c.t.TempDir())
	if err != nil {
		c.t.Fatal(err)
	}
	deploy, err := filepath.Rel(dir, filepath.Join(repo, "deploy"))
	if err != nil {
		c.t.Fatal(err)
	}
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // manifests are no secret
			c.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DEPLOY", deploy)), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	objects, err := c.Render(c.t.Context(), dir)
	if err != nil {
		c.t.Fatal(err)
	}
	return objects
}

// without leaves out the Deployments of the core, and all of a family.
func (m manifests) without(names ...string) manifests {
	var rest manifests
	for _, object := range m {
		left := true
		for _, name := range names {
			mine := object.GetLabels()["app.kubernetes.io/name"] == name && object.GetKind() != "Certificate"
			if mine && (object.GetKind() == "Deployment" || strings.HasPrefix(name, "scaler-")) {
				left = false
			}
		}
		if left {
			rest = append(rest, object)
		}
	}
	return rest
}

// lead does what the cluster's DNS would, which is not there: it writes the
// address into the Services that lead to the family in namespace keda.
func (m manifests) lead(family, address string) {
	for _, object := range m {
		name, _, _ := unstructured.NestedString(object.Object, "spec", "externalName")
		if name == family+".keda.svc.cluster.local" {
			_ = unstructured.SetNestedField(object.Object, address, "spec", "externalName") // a map, as was just read
		}
	}
}

// one instance of each is enough.
var one = map[string]int32{"controller": 1, "metrics-adapter": 1, "scaler-cron": 1, "scaler-rabbitmq": 1, "scaler-kubernetes": 1}

// begin applies manifests and waits until the components run.
func (c another) begin(objects manifests, components ...string) map[string]*localcluster.Instance {
	c.t.Helper()
	if err := c.Begin(c.t.Context(), localcluster.Installation{Objects: objects, Replicas: one}); err != nil {
		c.t.Fatal(err)
	}
	running := map[string]*localcluster.Instance{}
	for _, component := range components {
		c.wait(component+" running", func() (bool, string) {
			found := c.Instances(component)
			if len(found) != 1 || found[0].PID() == 0 || found[0].Address() == "" {
				return false, fmt.Sprint(found)
			}
			running[component] = found[0]
			return true, ""
		})
	}
	return running
}

// install applies manifests and waits until all of it is ready.
func (c another) install(objects manifests) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.Install(ctx, localcluster.Installation{Objects: objects, Replicas: one}); err != nil {
		c.t.Fatal(err)
	}
}

func (c another) only(component string) *localcluster.Instance {
	c.t.Helper()
	found := c.Instances(component)
	if len(found) != 1 {
		c.t.Fatalf("%d instances of %s", len(found), component)
	}
	return found[0]
}

// addressBehind waits until a Service leads to the instance, and returns where
// that is.
func (c another) addressBehind(namespace, service string, i *localcluster.Instance) string {
	c.t.Helper()
	c.wait("Service "+service+" leading to "+i.Address(), func() (bool, string) {
		var slices discoveryv1.EndpointSliceList
		if err := c.Client().List(c.t.Context(), &slices, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
			return false, err.Error()
		}
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				if endpoint.Addresses[0] == i.Address() {
					return true, ""
				}
			}
		}
		return false, fmt.Sprint(slices.Items)
	})
	return i.Address()
}

// probes are where a component says that it lives and that it is ready, and
// where it shows its certificate.
var probes = map[string]struct{ lives, ready, secure string }{
	"controller":      {"http://%s:8081/healthz", "http://%s:8081/readyz", "9443"},
	"metrics-adapter": {"https://%s:6443/livez", "https://%s:6443/readyz", "6443"},
	"scaler-rabbitmq": {"http://%s:8080/healthz", "http://%s:8080/readyz", "9090"},
	"scaler-cron":     {"http://%s:8080/healthz", "http://%s:8080/readyz", "9090"},
}

// waitsForItsKey waits until a process lives, and makes sure that it is not
// ready.
func (c another) waitsForItsKey(component string, i *localcluster.Instance) {
	c.t.Helper()
	probe := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // as a kubelet probes
	get := func(url string) (int, error) {
		request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, fmt.Sprintf(url, i.Address()), nil)
		if err != nil {
			c.t.Fatal(err)
		}
		answer, err := probe.Do(request)
		if err != nil {
			return 0, err
		}
		return answer.StatusCode, answer.Body.Close()
	}
	c.wait(component+" alive", func() (bool, string) {
		code, err := get(probes[component].lives)
		return code == http.StatusOK, fmt.Sprint(code, err)
	})
	if code, err := get(probes[component].ready); code == http.StatusOK {
		c.t.Errorf("%s is ready without a key: %v", component, err)
	}
}

// serves returns the serial number of the certificate that an instance shows.
func serves(t *testing.T, component string, i *localcluster.Instance) string {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}} //nolint:gosec // to look at it
	conn, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(i.Address(), probes[component].secure))
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func (c another) apply(manifests string) {
	c.t.Helper()
	if err := c.ApplyYAML(c.t.Context(), manifests); err != nil {
		c.t.Fatal(err)
	}
}

func (c another) wait(what string, done func() (bool, string)) {
	c.t.Helper()
	wait(c.t, what, done)
}

// condition returns the message of a condition of an object in namespace shop.
func (c another) condition(name, kind string) string {
	c.t.Helper()
	so := object{c.t, "shop", name}.scaledObject()
	if err := c.Client().Get(c.t.Context(), client.ObjectKeyFromObject(so), so); err != nil {
		return err.Error()
	}
	conditions, _, _ := unstructured.NestedSlice(so.Object, "status", "conditions")
	for _, entry := range conditions {
		if fields, ok := entry.(map[string]any); ok && fields["type"] == kind {
			return fmt.Sprint(fields["message"])
		}
	}
	return ""
}

func (c another) waitReplicas(name string, count int32) {
	c.t.Helper()
	c.wait(fmt.Sprintf("%d replicas of %s", count, name), func() (bool, string) {
		d := &appsv1.Deployment{}
		if err := c.Client().Get(c.t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, d); err != nil {
			return false, err.Error()
		}
		return *d.Spec.Replicas == count, fmt.Sprintf("%d; %s", *d.Spec.Replicas, c.condition(name, "Ready"))
	})
}

// certManager is as much of cert-manager's API as the component uses.
const certManager = `
{apiVersion: v1, kind: Namespace, metadata: {name: cert-manager}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Namespaced
  names: {kind: Certificate, listKind: CertificateList, plural: certificates, singular: certificate}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clusterissuers.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Cluster
  names: {kind: ClusterIssuer, listKind: ClusterIssuerList, plural: clusterissuers, singular: clusterissuer}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

// issuer stands in for cert-manager and its cainjector: it signs what the
// Certificates ask for into Secrets of the same form, and writes the authority
// where the annotation asks for it.
type issuer struct {
	c       another
	ca      *x509.Certificate
	key     *ecdsa.PrivateKey
	serials map[string]string // of the last certificate, by Secret
}

func newIssuer(t *testing.T, c another) *issuer {
	t.Helper()
	s := &issuer{c: c, serials: map[string]string{}}
	s.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Sluice"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &s.key.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	if s.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return s
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// sign makes a new key and certificate for every Certificate of the
// installation.
func (s *issuer) sign() {
	s.c.t.Helper()
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "CertificateList"})
	if err := s.c.Client().List(s.c.t.Context(), all, client.InNamespace("sluice-system")); err != nil {
		s.c.t.Fatal(err)
	}
	for i := range all.Items {
		s.signOne(&all.Items[i])
	}
	s.inject(schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"}, "v1beta1.external.metrics.k8s.io", "spec")
	s.inject(schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"}, "keda-admission", "webhooks")
}

var usages = map[string]x509.ExtKeyUsage{"server auth": x509.ExtKeyUsageServerAuth, "client auth": x509.ExtKeyUsageClientAuth}

func (s *issuer) signOne(wanted *unstructured.Unstructured) {
	t := s.c.t
	t.Helper()
	name, _, _ := unstructured.NestedString(wanted.Object, "spec", "secretName")
	names, _, _ := unstructured.NestedStringSlice(wanted.Object, "spec", "dnsNames")
	asked, _, _ := unstructured.NestedStringSlice(wanted.Object, "spec", "usages")
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, DNSNames: names, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	for _, usage := range asked {
		if extended, ok := usages[usage]; ok {
			template.ExtKeyUsage = append(template.ExtKeyUsage, extended)
		}
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, s.ca, &key.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{
		identity.CertificateKey: encodePEM("CERTIFICATE", der), identity.PrivateKeyKey: encodePEM("EC PRIVATE KEY", private),
		identity.AuthoritiesKey: encodePEM("CERTIFICATE", s.ca.Raw),
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: wanted.GetNamespace(), Name: name}, Type: corev1.SecretTypeTLS, Data: data}
	api := s.c.Client()
	if s.serials[name] == "" {
		err = api.Create(t.Context(), secret)
	} else {
		err = api.Update(t.Context(), secret)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.serials[name] = serial.String()
}

// inject writes the authority into an object that asks for it.
func (s *issuer) inject(kind schema.GroupVersionKind, name, field string) {
	t := s.c.t
	t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	if err := s.c.Client().Get(t.Context(), client.ObjectKey{Name: name}, object); err != nil {
		t.Fatal(err)
	}
	if from := object.GetAnnotations()["cert-manager.io/inject-ca-from"]; !strings.HasPrefix(from, "sluice-system/") {
		t.Fatalf("%s %s asks for the authority of %q", kind.Kind, name, from)
	}
	bundle := base64.StdEncoding.EncodeToString(encodePEM("CERTIFICATE", s.ca.Raw))
	before := client.MergeFrom(object.DeepCopy())
	switch places := object.Object[field].(type) {
	case map[string]any:
		places["caBundle"] = bundle
	case []any:
		for _, entry := range places {
			entry.(map[string]any)["clientConfig"].(map[string]any)["caBundle"] = bundle
		}
	}
	if err := s.c.Client().Patch(t.Context(), object, before); err != nil {
		t.Fatal(err)
	}
}
