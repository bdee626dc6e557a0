package rules

import (
	"errors"
	"fmt"
	"net/url"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Authentication applies KEDA's rules for authentications, all of them:
// KEDA ends at the first provider that it knows no rule for.
func (j *Judge) Authentication(object client.Object, spec v1alpha1.TriggerAuthenticationSpec) Verdict {
	_, cluster := object.(*v1alpha1.ClusterTriggerAuthentication)
	var v Verdict
	v.refuse("", j.Limits.Authentication(spec))
	if id := spec.PodIdentity; id != nil {
		switch id.Provider {
		case v1alpha1.PodIdentityAzureWorkload:
			v.refuse("", azureIdentity(id))
		case v1alpha1.PodIdentityAWS:
			v.refuse("", awsIdentity(id))
		case v1alpha1.PodIdentityAWSEKS:
			v.warn("podIdentity.provider: aws-eks is deprecated, use aws")
		case v1alpha1.PodIdentityGCP, v1alpha1.PodIdentityNone:
		}
	}
	if o := spec.OAuth2; o != nil {
		v.refuse("", oauth2(o))
	}
	if vault := spec.HashiCorpVault; vault != nil && vault.Authentication == v1alpha1.VaultAuthenticationKubernetes &&
		(vault.Role == "" || vault.Mount == "") {
		v.warn("hashiCorpVault: authentication kubernetes needs role and mount")
	}
	value, annotated := object.GetAnnotations()[v1alpha1.AnnotationSecretNamespace]
	switch {
	case !cluster && spec.FilePath != "":
		v.warn("filePath: only works in a ClusterTriggerAuthentication")
	case !annotated:
	case !cluster:
		v.warn("annotation %s: only counts on a ClusterTriggerAuthentication", v1alpha1.AnnotationSecretNamespace)
	case value != v1alpha1.SecretNamespaceOfObject:
		v.refuse("", fmt.Errorf("annotation %s: %q is not %s, the only value that it may have",
			v1alpha1.AnnotationSecretNamespace, value, v1alpha1.SecretNamespaceOfObject))
	default:
		v.refuse("", foreign(spec))
	}
	return v
}

// SameAuthentication reports whether nothing has changed that is judged.
func SameAuthentication(a, b client.Object, specA, specB v1alpha1.TriggerAuthenticationSpec) bool {
	valueA, annotatedA := a.GetAnnotations()[v1alpha1.AnnotationSecretNamespace]
	valueB, annotatedB := b.GetAnnotations()[v1alpha1.AnnotationSecretNamespace]
	return valueA == valueB && annotatedA == annotatedB && apiequality.Semantic.DeepEqual(specA, specB)
}

// foreign is everything that a spec uses and that is not of the namespace of the
// object, whose Secrets it is told to use: those may fill the address that an
// identity or a secret of somebody else's would be sent to. Families have the same
// rules.
func foreign(spec v1alpha1.TriggerAuthenticationSpec) error {
	var problems []error
	add := func(field string) {
		problems = append(problems, fmt.Errorf("%s: cannot be beside annotation %s: %s, since it is not of the object's namespace; give it by a ClusterTriggerAuthentication without",
			field, v1alpha1.AnnotationSecretNamespace, v1alpha1.SecretNamespaceOfObject))
	}
	identity := func(field string, id *v1alpha1.PodIdentity) {
		if id != nil && id.Provider != "" && id.Provider != v1alpha1.PodIdentityNone {
			add(field)
		}
	}
	identity("podIdentity", spec.PodIdentity)
	if spec.FilePath != "" {
		add("filePath")
	}
	if vault := spec.HashiCorpVault; vault != nil {
		switch {
		case vault.Authentication == v1alpha1.VaultAuthenticationToken:
			add("hashiCorpVault.authentication token")
		case vault.Credential == nil || vault.Credential.ServiceAccountName == "":
			problems = append(problems, fmt.Errorf("hashiCorpVault.credential.serviceAccountName: is required beside annotation %s: %s",
				v1alpha1.AnnotationSecretNamespace, v1alpha1.SecretNamespaceOfObject))
		}
	}
	if s := spec.AzureKeyVault; s != nil {
		identity("azureKeyVault.podIdentity", s.PodIdentity)
	}
	if s := spec.GCPSecretManager; s != nil {
		identity("gcpSecretManager.podIdentity", s.PodIdentity)
	}
	if s := spec.AwsSecretManager; s != nil {
		identity("awsSecretManager.podIdentity", s.PodIdentity)
	}
	return errors.Join(problems...)
}

func azureIdentity(id *v1alpha1.PodIdentity) error {
	var problems []error
	if id.IdentityID != nil && *id.IdentityID == "" {
		problems = append(problems, errors.New("podIdentity.identityId: is empty, leave it out to use the scaler's own"))
	}
	tenant := id.IdentityTenantID != nil && *id.IdentityTenantID != ""
	switch {
	case id.IdentityAuthorityHost != nil && *id.IdentityAuthorityHost != "" && !tenant:
		problems = append(problems, errors.New("podIdentity.identityTenantId: is required with identityAuthorityHost"))
	case id.IdentityTenantID != nil && !tenant:
		problems = append(problems, errors.New("podIdentity.identityTenantId: is empty, leave it out to use the scaler's own"))
	}
	return errors.Join(problems...)
}

func awsIdentity(id *v1alpha1.PodIdentity) error {
	var problems []error
	role := id.RoleArn != nil && *id.RoleArn != ""
	if role && id.IdentityOwner != nil && *id.IdentityOwner == "workload" {
		problems = append(problems, errors.New("podIdentity.roleArn: excludes identityOwner workload, whose role is that of the workload's ServiceAccount"))
	}
	if id.ExternalID != nil && *id.ExternalID != "" && !role {
		problems = append(problems, errors.New("podIdentity.roleArn: is required with externalID"))
	}
	return errors.Join(problems...)
}

func oauth2(o *v1alpha1.OAuth2) error {
	var problems []error
	if o.Type != "clientCredentials" {
		problems = append(problems, fmt.Errorf("oauth2.type: %q is not clientCredentials", o.Type))
	}
	if o.ClientID == "" {
		problems = append(problems, errors.New("oauth2.clientId: is required"))
	}
	if o.TokenURL == "" {
		problems = append(problems, errors.New("oauth2.tokenUrl: is required"))
	} else if u, err := url.Parse(o.TokenURL); err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		// The text may hold a password and is not shown.
		problems = append(problems, errors.New("oauth2.tokenUrl: is not an absolute http or https URL"))
	}
	return errors.Join(problems...)
}
