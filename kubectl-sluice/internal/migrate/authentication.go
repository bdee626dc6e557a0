package migrate

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

const (
	ofNamespace = "TriggerAuthentication"
	ofCluster   = "ClusterTriggerAuthentication"
)

// authentication is a TriggerAuthentication or ClusterTriggerAuthentication.
type authentication struct {
	*Object
	spec v1alpha1.TriggerAuthenticationSpec
	// ofObject is whether the Secrets of a ClusterTriggerAuthentication are those
	// of the namespace that uses it.
	ofObject bool
}

func (c *check) allAuthentications() (all []*Object) {
	for _, ta := range c.set.TriggerAuthentications {
		all = append(all, c.authentication(ofNamespace, ta, ta.Spec))
	}
	for _, cta := range c.set.ClusterTriggerAuthentications {
		all = append(all, c.authentication(ofCluster, cta, cta.Spec))
	}
	return all
}

// authentication judges one. What it needs is said of who uses it, and here where
// it is the same for all of them.
func (c *check) authentication(kind string, object client.Object, spec v1alpha1.TriggerAuthenticationSpec) *Object {
	o := c.object(kind, object)
	o.told(c.judge.Authentication(object, spec))
	c.authentications[o.Key()] = &authentication{
		Object: o, spec: spec,
		ofObject: object.GetAnnotations()[v1alpha1.AnnotationSecretNamespace] == v1alpha1.SecretNamespaceOfObject,
	}
	if spec.FilePath != "" {
		o.find(Finding{Class: Needs, Field: "filePath", Text: "the file has to be mounted in each family that reads it, below its --filepath-auth-root-path"})
	}
	if vault := spec.HashiCorpVault; vault != nil {
		switch named := vault.Credential != nil && vault.Credential.ServiceAccountName != ""; {
		case vault.Authentication == v1alpha1.VaultAuthenticationToken && (vault.Credential == nil || vault.Credential.Token == ""):
			o.find(Finding{Class: Needs, Field: "hashiCorpVault", Text: "VAULT_TOKEN and VAULT_ADDR have to be set for each family that uses it; the token goes to VAULT_ADDR alone"})
		case vault.Authentication == v1alpha1.VaultAuthenticationKubernetes && !named:
			o.find(Finding{Class: Needs, Field: "hashiCorpVault.credential", Text: "a family shows its own token only with --readable-files that lists the token's file, and to VAULT_ADDR or --identity-hosts; credential.serviceAccountName needs neither"})
		}
	}
	authenticationDifferences(o, spec)
	return o
}

// references finds out what a trigger refers to, and grants it to its family.
func (c *check) references(s *subject, i int, t v1alpha1.ScaleTrigger, f *families.Family) {
	var w federation.Workload
	auth := c.authenticationOf(s, i, t)
	if scalerv1.NameVariable(t.Metadata) || auth != nil && readsWorkload(auth.spec) {
		known, why := s.workload()
		if w = known; why != "" {
			s.of(i, Needs, "", "what family %s has to be let read is not known: %s", f.Name, why)
			c.grant(s.Namespace, f.Name).incomplete[s.Key().String()+": "+why] = true
		}
	}
	n := needs{check: c, subject: s, index: i, family: f.Name}
	for _, ref := range t.SecretKeyRef {
		n.secret(s.Namespace, ref.Name)
	}
	var served federation.Trigger
	for _, candidate := range s.served(w) {
		if candidate.Index == i {
			served = candidate
		}
	}
	n.variables(served.Env, slices.Sorted(maps.Keys(served.Env)))
	if auth != nil {
		n.authentication(auth, served, w, t)
	}
	n.done()
}

// authenticationOf is the one that a trigger names, nil where it names none or
// one that is not known.
func (c *check) authenticationOf(s *subject, i int, t v1alpha1.ScaleTrigger) *authentication {
	ref := t.AuthenticationRef
	if ref == nil {
		return nil
	}
	key := objects.Key{Kind: ref.AuthenticationKind(), Name: ref.Name}
	if key.Kind == ofNamespace {
		key.Namespace = s.Namespace
	}
	auth := c.authentications[key]
	if auth == nil {
		s.of(i, Needs, "authenticationRef", "%s is not among what was read, so that what it refers to is not known", key)
		if f := families.Of(t.Type); f != nil {
			c.grant(s.Namespace, f.Name).incomplete[key.String()+" is not among what was read"] = true
		}
	}
	return auth
}

// readsWorkload is whether an authentication looks into the target of an object.
func readsWorkload(spec v1alpha1.TriggerAuthenticationSpec) bool {
	return len(spec.Env) > 0 || slices.ContainsFunc(identities(spec), func(id *v1alpha1.PodIdentity) bool { return ofWorkload(id) })
}

func ofWorkload(id *v1alpha1.PodIdentity) bool {
	return id.Provider == v1alpha1.PodIdentityAWSEKS ||
		id.Provider == v1alpha1.PodIdentityAWS && id.IdentityOwner != nil && *id.IdentityOwner == "workload"
}

// identities are those of an authentication and of its stores.
func identities(spec v1alpha1.TriggerAuthenticationSpec) []*v1alpha1.PodIdentity {
	all := []*v1alpha1.PodIdentity{spec.PodIdentity}
	if s := spec.AzureKeyVault; s != nil {
		all = append(all, s.PodIdentity)
	}
	if s := spec.GCPSecretManager; s != nil {
		all = append(all, s.PodIdentity)
	}
	if s := spec.AwsSecretManager; s != nil {
		all = append(all, s.PodIdentity)
	}
	return slices.DeleteFunc(all, func(id *v1alpha1.PodIdentity) bool {
		return id == nil || id.Provider == "" || id.Provider == v1alpha1.PodIdentityNone
	})
}

// needs collects what one trigger has to be let read.
type needs struct {
	*check
	subject *subject
	index   int
	family  string
	told    []string
}

func (n *needs) secret(namespace, name string) {
	n.add(namespace, "Secret", name, n.grant(namespace, n.family).secrets)
}

func (n *needs) configMap(namespace, name string) {
	n.add(namespace, "ConfigMap", name, n.grant(namespace, n.family).configMaps)
}

func (n *needs) add(namespace, kind, name string, into map[string]bool) {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		n.subject.of(n.index, Cannot, "", "%s %.64q: is no name that an object can have", kind, name)
		return
	}
	into[name] = true
	what := kind + " " + namespace + "/" + name
	if !slices.Contains(n.told, what) {
		n.told = append(n.told, what)
	}
}

// done says what the trigger needs.
func (n *needs) done() {
	if len(n.told) > 0 {
		n.subject.of(n.index, Needs, "", "family %s has to be let read %s", n.family, strings.Join(n.told, ", "))
	}
}

// variables adds what variables refer to. Their values are of no interest.
func (n *needs) variables(env map[string]scalerv1.EnvVar, names []string) {
	_, _ = scalerv1.ResolveEnv(env, names, func(_ string, v scalerv1.EnvVar) (string, scalerv1.Finding) {
		n.variable(v)
		return "", scalerv1.Pending
	})
}

func (n *needs) variable(v scalerv1.EnvVar) {
	switch {
	case v.SecretKeyRef != nil:
		n.secret(n.subject.Namespace, v.SecretKeyRef.Name)
	case v.ConfigMapKeyRef != nil:
		n.configMap(n.subject.Namespace, v.ConfigMapKeyRef.Name)
	}
	for _, from := range v.EnvFrom {
		n.variable(from)
	}
}

// authentication adds what an authentication refers to.
func (n *needs) authentication(auth *authentication, served federation.Trigger, w federation.Workload, t v1alpha1.ScaleTrigger) {
	spec, namespace := auth.spec, n.subject.Namespace
	if auth.Kind == ofCluster && !auth.ofObject {
		namespace = n.ClusterObjects
	}
	for _, ref := range spec.SecretTargetRef {
		n.secret(namespace, ref.Name)
	}
	for _, ref := range spec.ConfigMapTargetRef {
		n.configMap(namespace, ref.Name)
	}
	for _, name := range secretsOfStores(spec) {
		n.secret(namespace, name)
	}
	for _, parameter := range spec.Env {
		n.ofContainer(served.Containers, parameter)
	}
	for _, token := range spec.BoundServiceAccountToken {
		n.token(namespace, token.ServiceAccountName)
	}
	if vault := spec.HashiCorpVault; vault != nil && vault.Credential != nil && vault.Credential.ServiceAccountName != "" {
		n.token(namespace, vault.Credential.ServiceAccountName)
	}
	for _, id := range identities(spec) {
		n.trust(n.subject, n.index, n.family, string(id.Provider), identityOf(id))
		if ofWorkload(id) && w.ServiceAccount != "" {
			n.add(n.subject.Namespace, "ServiceAccount", w.ServiceAccount, n.grant(n.subject.Namespace, n.family).accounts)
		}
	}
	if auth.Kind == ofCluster {
		n.fixed(spec, t)
	}
}

func (n *needs) token(namespace, account string) {
	if len(validation.IsDNS1123Subdomain(account)) > 0 {
		n.subject.of(n.index, Cannot, "", "ServiceAccount %.64q: is no name that an object can have", account)
		return
	}
	n.grant(namespace, n.family).tokens[account] = true
	n.subject.of(n.index, Needs, "", "family %s has to be let create tokens of ServiceAccount %s/%s", n.family, namespace, account)
}

// ofContainer adds what a variable of a container refers to.
func (n *needs) ofContainer(containers []scalerv1.Container, parameter v1alpha1.EnvParameter) {
	for _, container := range containers {
		if parameter.ContainerName != "" && container.Name != parameter.ContainerName {
			continue
		}
		if _, defined := container.Env[parameter.Name]; defined {
			n.variables(container.Env, []string{parameter.Name})
		} else if v, may := scalerv1.Variable(container.EnvFrom, parameter.Name); may {
			n.variable(v)
		}
		return
	}
}

// secretsOfStores are the Secrets with which a family logs in to secret stores
// and to token endpoints.
func secretsOfStores(spec v1alpha1.TriggerAuthenticationSpec) (names []string) {
	add := func(from ...v1alpha1.ValueFromSecret) {
		for _, f := range from {
			if name := f.ValueFrom.SecretKeyRef.Name; name != "" {
				names = append(names, name)
			}
		}
	}
	if s := spec.AzureKeyVault; s != nil && s.Credentials != nil {
		add(s.Credentials.ClientSecret)
	}
	if s := spec.GCPSecretManager; s != nil && s.Credentials != nil {
		add(s.Credentials.ClientSecret)
	}
	if s := spec.AwsSecretManager; s != nil && s.Credentials != nil {
		add(s.Credentials.AccessKey, s.Credentials.AccessSecretKey)
		if s.Credentials.AccessToken != nil {
			add(*s.Credentials.AccessToken)
		}
	}
	if o := spec.OAuth2; o != nil && o.ClientSecret != nil {
		add(*o.ClientSecret)
	}
	return names
}

// fixed finds parameters that both a ClusterTriggerAuthentication and the trigger
// give: the trigger fails, since who writes it would choose where the
// credentials go.
func (n *needs) fixed(spec v1alpha1.TriggerAuthenticationSpec, t v1alpha1.ScaleTrigger) {
	for _, given := range parametersOf(spec) {
		for _, p := range families.Of(t.Type).Types[t.Type].GetParameters() {
			if !slices.Contains(p.Keys(), given) && !slices.Contains(p.Keys(), meansToo[given]) {
				continue
			}
			for _, key := range p.Keys() {
				if t.Metadata[key] != "" || t.Metadata[scalerv1.EnvKey(key)] != "" {
					n.subject.of(n.index, Needs, key, "is given by ClusterTriggerAuthentication %s, too, which an object cannot replace: leave it out of one of them", t.AuthenticationRef.Name)
				}
			}
		}
	}
}

// meansToo are parameters of redis of which one is enough.
var meansToo = map[string]string{"address": "host", "host": "address", "addresses": "hosts", "hosts": "addresses"}

// parametersOf are the parameters that an authentication gives.
func parametersOf(spec v1alpha1.TriggerAuthenticationSpec) (names []string) {
	for _, ref := range slices.Concat(spec.SecretTargetRef, spec.ConfigMapTargetRef) {
		names = append(names, ref.Parameter)
	}
	for _, token := range spec.BoundServiceAccountToken {
		names = append(names, token.Parameter)
	}
	if s := spec.HashiCorpVault; s != nil {
		for _, secret := range s.Secrets {
			names = append(names, secret.Parameter)
		}
	}
	if s := spec.AzureKeyVault; s != nil {
		for _, secret := range s.Secrets {
			names = append(names, secret.Parameter)
		}
	}
	if s := spec.GCPSecretManager; s != nil {
		for _, secret := range s.Secrets {
			names = append(names, secret.Parameter)
		}
	}
	if s := spec.AwsSecretManager; s != nil {
		for _, secret := range s.Secrets {
			names = append(names, secret.Parameter)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// identityOf is what an authentication says of an identity, "" for that of the
// ServiceAccount.
func identityOf(id *v1alpha1.PodIdentity) string {
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	switch {
	case text(id.RoleArn) != "":
		return "role " + text(id.RoleArn)
	case ofWorkload(id):
		return "the role of the target's ServiceAccount"
	case text(id.IdentityID) != "":
		return "client " + text(id.IdentityID)
	}
	return ""
}

// hosts are those in an address, or in a list of them. Users and passwords are
// left out.
func hosts(value string) (found []string) {
	for _, part := range strings.Split(value, ",") {
		part = strings.TrimSpace(part)
		if strings.Contains(part, "://") {
			if u, err := url.Parse(part); err == nil && u.Hostname() != "" {
				found = append(found, u.Hostname())
			}
			continue
		}
		part, _, _ = strings.Cut(part, "/")
		part = part[strings.LastIndex(part, "@")+1:]
		if host, _, err := net.SplitHostPort(part); err == nil {
			part = host
		}
		if part != "" {
			found = append(found, part)
		}
	}
	return found
}
