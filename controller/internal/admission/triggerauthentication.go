package admission

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// authentication applies KEDA's rules for authentications, all of them:
// KEDA ends at the first provider that it knows no rule for.
func (w *Webhook) authentication(spec v1alpha1.TriggerAuthenticationSpec, namespaced bool) verdict {
	var v verdict
	v.refuse("", w.Limits.Authentication(spec))
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
	if namespaced && spec.FilePath != "" {
		v.warn("filePath: only works in a ClusterTriggerAuthentication")
	}
	return v
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
