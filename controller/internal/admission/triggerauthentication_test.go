package admission

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

func TestAuthentications(t *testing.T) {
	type spec = v1alpha1.TriggerAuthenticationSpec
	azure := func(id, tenant, host *string) spec {
		return spec{PodIdentity: &v1alpha1.PodIdentity{
			Provider: v1alpha1.PodIdentityAzureWorkload, IdentityID: id, IdentityTenantID: tenant, IdentityAuthorityHost: host,
		}}
	}
	aws := func(role, external, owner *string) spec {
		return spec{PodIdentity: &v1alpha1.PodIdentity{Provider: v1alpha1.PodIdentityAWS, RoleArn: role, ExternalID: external, IdentityOwner: owner}}
	}
	oauth := func(grant, id, url string) spec {
		return spec{OAuth2: &v1alpha1.OAuth2{Type: grant, ClientID: id, TokenURL: url}}
	}
	const url = "https://login.example.com/token"
	notAURL := []string{"oauth2.tokenUrl: is not an absolute http or https URL"}
	tests := map[string]struct {
		spec     spec
		refusals []string
		warnings []string
	}{
		"nothing":                             {},
		"A1 identityId empty":                 {spec: azure(ptr.To(""), nil, nil), refusals: []string{"podIdentity.identityId: is empty, leave it out to use the scaler's own"}},
		"A1 identityId":                       {spec: azure(ptr.To("id"), nil, nil)},
		"A2 authority host without tenant":    {spec: azure(nil, nil, ptr.To("login.example.com")), refusals: []string{"podIdentity.identityTenantId: is required with identityAuthorityHost"}},
		"A2 authority host, tenant empty":     {spec: azure(nil, ptr.To(""), ptr.To("login.example.com")), refusals: []string{"podIdentity.identityTenantId: is required with identityAuthorityHost"}},
		"A2 authority host and tenant":        {spec: azure(nil, ptr.To("tenant"), ptr.To("login.example.com"))},
		"A3 tenant empty":                     {spec: azure(nil, ptr.To(""), nil), refusals: []string{"podIdentity.identityTenantId: is empty, leave it out to use the scaler's own"}},
		"A3 tenant empty, host empty":         {spec: azure(nil, ptr.To(""), ptr.To("")), refusals: []string{"podIdentity.identityTenantId: is empty, leave it out to use the scaler's own"}},
		"A1 and A3 at once":                   {spec: azure(ptr.To(""), ptr.To(""), nil), refusals: []string{"podIdentity.identityId: is empty, leave it out to use the scaler's own", "podIdentity.identityTenantId: is empty, leave it out to use the scaler's own"}},
		"A4 role of two owners":               {spec: aws(ptr.To("arn"), nil, ptr.To("workload")), refusals: []string{"podIdentity.roleArn: excludes identityOwner workload, whose role is that of the workload's ServiceAccount"}},
		"A4 role, owner keda":                 {spec: aws(ptr.To("arn"), nil, ptr.To("keda"))},
		"A4 owner workload":                   {spec: aws(nil, nil, ptr.To("workload"))},
		"A5 external id without role":         {spec: aws(nil, ptr.To("id"), nil), refusals: []string{"podIdentity.roleArn: is required with externalID"}},
		"A5 external id, role empty":          {spec: aws(ptr.To(""), ptr.To("id"), nil), refusals: []string{"podIdentity.roleArn: is required with externalID"}},
		"A5 external id and role":             {spec: aws(ptr.To("arn"), ptr.To("id"), nil)},
		"A6 another grant":                    {spec: oauth("password", "id", url), refusals: []string{`oauth2.type: "password" is not clientCredentials`}},
		"A7 no client":                        {spec: oauth("clientCredentials", "", url), refusals: []string{"oauth2.clientId: is required"}},
		"A8 no URL":                           {spec: oauth("clientCredentials", "id", ""), refusals: []string{"oauth2.tokenUrl: is required"}},
		"A9 a relative URL":                   {spec: oauth("clientCredentials", "id", "/token"), refusals: notAURL},
		"A9 another scheme":                   {spec: oauth("clientCredentials", "id", "ftp://login.example.com"), refusals: notAURL},
		"A9 no host":                          {spec: oauth("clientCredentials", "id", "https://:443/token"), refusals: notAURL},
		"A9 not a URL, its text kept to us":   {spec: oauth("clientCredentials", "id", "https://user:hunter2@%zz"), refusals: notAURL},
		"A6 to A9 valid":                      {spec: oauth("clientCredentials", "id", url)},
		"A6 to A8 at once":                    {spec: oauth("", "", ""), refusals: []string{`oauth2.type: "" is not clientCredentials`, "oauth2.clientId: is required", "oauth2.tokenUrl: is required"}},
		"A6 with another identity (note 12)":  {spec: spec{PodIdentity: &v1alpha1.PodIdentity{Provider: v1alpha1.PodIdentityGCP}, OAuth2: &v1alpha1.OAuth2{Type: "password", ClientID: "id", TokenURL: url}}, refusals: []string{`oauth2.type: "password" is not clientCredentials`}},
		"an identity that is deprecated":      {spec: spec{PodIdentity: &v1alpha1.PodIdentity{Provider: v1alpha1.PodIdentityAWSEKS}}, warnings: []string{"podIdentity.provider: aws-eks is deprecated, use aws"}},
		"vault by ServiceAccount, no role":    {spec: spec{HashiCorpVault: &v1alpha1.HashiCorpVault{Authentication: v1alpha1.VaultAuthenticationKubernetes, Mount: "kubernetes"}}, warnings: []string{"hashiCorpVault: authentication kubernetes needs role and mount"}},
		"vault by ServiceAccount, role given": {spec: spec{HashiCorpVault: &v1alpha1.HashiCorpVault{Authentication: v1alpha1.VaultAuthenticationKubernetes, Mount: "kubernetes", Role: "sluice"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			meta := metav1.ObjectMeta{Namespace: namespace, Name: "login"}
			for path, object := range map[string]client.Object{
				pathAuthentication: &v1alpha1.TriggerAuthentication{ObjectMeta: meta, Spec: tt.spec},
				pathCluster:        &v1alpha1.ClusterTriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Name: "login"}, Spec: tt.spec},
			} {
				f.want(f.ask(path, object, nil), tt.refusals, tt.warnings)
				freed := object.DeepCopyObject().(client.Object)
				object.SetFinalizers([]string{v1alpha1.Finalizer})
				f.want(f.ask(path, freed, object), nil, nil)
			}
		})
	}
}

func TestFilesOfNamespacedAuthentications(t *testing.T) {
	f := newFixture(t)
	spec := v1alpha1.TriggerAuthenticationSpec{FilePath: "login.json"}
	f.want(f.ask(pathAuthentication, &v1alpha1.TriggerAuthentication{Spec: spec}, nil), nil, []string{"filePath: only works in a ClusterTriggerAuthentication"})
	f.want(f.ask(pathCluster, &v1alpha1.ClusterTriggerAuthentication{Spec: spec}, nil), nil, nil)
}

// TestSecretNamespaces: Secrets of each object's namespace, and nothing else beside
// them that is not the namespace's.
func TestSecretNamespaces(t *testing.T) {
	type spec = v1alpha1.TriggerAuthenticationSpec
	const beside = ": cannot be beside annotation sluice.dev/secret-namespace: object, since it is not of the object's namespace; give it by a ClusterTriggerAuthentication without"
	lent := &v1alpha1.PodIdentity{Provider: v1alpha1.PodIdentityGCP}
	secrets := spec{
		SecretTargetRef: []v1alpha1.TargetRef{{Parameter: "password", Name: "broker", Key: "password"}},
		PodIdentity:     &v1alpha1.PodIdentity{Provider: v1alpha1.PodIdentityNone},
		HashiCorpVault: &v1alpha1.HashiCorpVault{
			Authentication: v1alpha1.VaultAuthenticationKubernetes, Role: "r", Mount: "m", Credential: &v1alpha1.VaultCredential{ServiceAccountName: "team"},
		},
		AzureKeyVault: &v1alpha1.AzureKeyVault{}, GCPSecretManager: &v1alpha1.GCPSecretManager{}, AwsSecretManager: &v1alpha1.AwsSecretManager{},
	}
	tests := map[string]struct {
		value    string
		spec     spec
		refusals []string
	}{
		"those of the object": {value: "object", spec: secrets},
		"unknown":             {value: "Object", spec: secrets, refusals: []string{`annotation sluice.dev/secret-namespace: "Object" is not object, the only value that it may have`}},
		"empty":               {value: "", refusals: []string{`annotation sluice.dev/secret-namespace: "" is not object, the only value that it may have`}},
		"beside an identity":  {value: "object", spec: spec{PodIdentity: lent}, refusals: []string{"podIdentity" + beside}},
		"beside a file":       {value: "object", spec: spec{FilePath: "login.json"}, refusals: []string{"filePath" + beside}},
		"beside a token of Vault": {
			value: "object", spec: spec{HashiCorpVault: &v1alpha1.HashiCorpVault{Authentication: v1alpha1.VaultAuthenticationToken}},
			refusals: []string{"hashiCorpVault.authentication token" + beside},
		},
		"beside the family's own login at Vault": {
			value: "object", spec: spec{HashiCorpVault: &v1alpha1.HashiCorpVault{Authentication: v1alpha1.VaultAuthenticationKubernetes, Role: "r", Mount: "m"}},
			refusals: []string{"hashiCorpVault.credential.serviceAccountName: is required beside annotation sluice.dev/secret-namespace: object"},
		},
		"beside identities of stores, all told at once": {
			value: "object", spec: spec{
				AzureKeyVault: &v1alpha1.AzureKeyVault{PodIdentity: lent}, GCPSecretManager: &v1alpha1.GCPSecretManager{PodIdentity: lent},
				AwsSecretManager: &v1alpha1.AwsSecretManager{PodIdentity: lent},
			},
			refusals: []string{"azureKeyVault.podIdentity" + beside, "gcpSecretManager.podIdentity" + beside, "awsSecretManager.podIdentity" + beside},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			annotations := map[string]string{v1alpha1.AnnotationSecretNamespace: tt.value}
			object := &v1alpha1.ClusterTriggerAuthentication{ObjectMeta: metav1.ObjectMeta{Name: "login", Annotations: annotations}, Spec: tt.spec}
			f.want(f.ask(pathCluster, object, nil), tt.refusals, nil)
			// An annotation that is added later is judged as well, and whatever
			// else changes later is not.
			before := object.DeepCopy()
			before.Annotations = nil
			f.want(f.ask(pathCluster, object, before), tt.refusals, nil)
			after := object.DeepCopy()
			after.Annotations["note"] = "x"
			f.want(f.ask(pathCluster, after, object), nil, nil)
		})
	}
	f := newFixture(t)
	namespaced := &v1alpha1.TriggerAuthentication{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "login", Annotations: map[string]string{v1alpha1.AnnotationSecretNamespace: "object"},
	}}
	f.want(f.ask(pathAuthentication, namespaced, nil), nil, []string{"annotation sluice.dev/secret-namespace: only counts on a ClusterTriggerAuthentication"})
}
