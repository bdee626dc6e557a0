package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TriggerAuthentication supplies secrets or an identity to the triggers of its
// namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=triggerauthentications,scope=Namespaced,shortName=ta;triggerauth
// +kubebuilder:printcolumn:name="PodIdentity",type="string",JSONPath=".spec.podIdentity.provider"
// +kubebuilder:printcolumn:name="Secret",type="string",JSONPath=".spec.secretTargetRef[*].name"
// +kubebuilder:printcolumn:name="Env",type="string",JSONPath=".spec.env[*].name"
// +kubebuilder:printcolumn:name="VaultAddress",type="string",JSONPath=".spec.hashiCorpVault.address"
// +kubebuilder:printcolumn:name="ScaledObjects",type="string",priority=1,JSONPath=".status.scaledobjects"
// +kubebuilder:printcolumn:name="ScaledJobs",type="string",priority=1,JSONPath=".status.scaledjobs"
type TriggerAuthentication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TriggerAuthenticationSpec   `json:"spec"`
	Status TriggerAuthenticationStatus `json:"status,omitempty"`
}

// TriggerAuthenticationList is a list of TriggerAuthentications.
//
// +kubebuilder:object:root=true
type TriggerAuthenticationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []TriggerAuthentication `json:"items"`
}

// ClusterTriggerAuthentication supplies secrets or an identity to the triggers
// of every namespace. Its Secrets live in the cluster-object namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=clustertriggerauthentications,scope=Cluster,shortName=cta;clustertriggerauth
// +kubebuilder:printcolumn:name="PodIdentity",type="string",JSONPath=".spec.podIdentity.provider"
// +kubebuilder:printcolumn:name="Secret",type="string",JSONPath=".spec.secretTargetRef[*].name"
// +kubebuilder:printcolumn:name="Env",type="string",JSONPath=".spec.env[*].name"
// +kubebuilder:printcolumn:name="FilePath",type="string",JSONPath=".spec.filePath"
// +kubebuilder:printcolumn:name="VaultAddress",type="string",JSONPath=".spec.hashiCorpVault.address"
// +kubebuilder:printcolumn:name="ScaledObjects",type="string",priority=1,JSONPath=".status.scaledobjects"
// +kubebuilder:printcolumn:name="ScaledJobs",type="string",priority=1,JSONPath=".status.scaledjobs"
type ClusterTriggerAuthentication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TriggerAuthenticationSpec   `json:"spec"`
	Status TriggerAuthenticationStatus `json:"status,omitempty"`
}

// ClusterTriggerAuthenticationList is a list of ClusterTriggerAuthentications.
//
// +kubebuilder:object:root=true
type ClusterTriggerAuthenticationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterTriggerAuthentication `json:"items"`
}

// TriggerAuthenticationStatus names the users of an authentication.
type TriggerAuthenticationStatus struct {
	// ScaledObjects that use it, joined by commas.
	//
	// +optional
	ScaledObjects string `json:"scaledobjects,omitempty"`
	// ScaledJobs that use it, joined by commas.
	//
	// +optional
	ScaledJobs string `json:"scaledjobs,omitempty"`
}

// TriggerAuthenticationSpec lists where parameters come from. Blocks may be
// combined.
//
// +kubebuilder:validation:XValidation:rule="self.?podIdentity.?provider.orValue(\"\") != 'azure-workload' || self.?podIdentity.?identityId.orValue('own') != \"\"",message="podIdentity.identityId must not be empty"
// +kubebuilder:validation:XValidation:rule="self.?podIdentity.?provider.orValue(\"\") != 'azure-workload' || self.?podIdentity.?identityTenantId.orValue('own') != \"\"",message="podIdentity.identityTenantId must not be empty"
// +kubebuilder:validation:XValidation:rule="self.?podIdentity.?provider.orValue(\"\") != 'azure-workload' || self.?podIdentity.?identityAuthorityHost.orValue(\"\") == \"\" || self.?podIdentity.?identityTenantId.orValue(\"\") != \"\"",message="podIdentity.identityAuthorityHost needs identityTenantId"
// +kubebuilder:validation:XValidation:rule="self.?podIdentity.?provider.orValue(\"\") != 'aws' || self.?podIdentity.?roleArn.orValue(\"\") == \"\" || self.?podIdentity.?identityOwner.orValue(\"\") != 'workload'",message="podIdentity.roleArn excludes identityOwner workload"
// +kubebuilder:validation:XValidation:rule="self.?podIdentity.?provider.orValue(\"\") != 'aws' || self.?podIdentity.?externalID.orValue(\"\") == \"\" || self.?podIdentity.?roleArn.orValue(\"\") != \"\"",message="podIdentity.externalID needs roleArn"
type TriggerAuthenticationSpec struct {
	// PodIdentity is the identity that triggers log in with.
	//
	// +optional
	PodIdentity *PodIdentity `json:"podIdentity,omitempty"`
	// SecretTargetRef takes parameters from Secrets.
	//
	// +optional
	// +listType=atomic
	SecretTargetRef []TargetRef `json:"secretTargetRef,omitempty"`
	// ConfigMapTargetRef takes parameters from ConfigMaps.
	//
	// +optional
	// +listType=atomic
	ConfigMapTargetRef []TargetRef `json:"configMapTargetRef,omitempty"`
	// Env takes parameters from the environment of the target's container.
	//
	// +optional
	// +listType=atomic
	Env []EnvParameter `json:"env,omitempty"`
	// FilePath takes parameters from a JSON file, relative to a directory that
	// the installation allows. ClusterTriggerAuthentication only.
	//
	// +optional
	FilePath string `json:"filePath,omitempty"`
	// HashiCorpVault takes parameters from Vault.
	//
	// +optional
	HashiCorpVault *HashiCorpVault `json:"hashiCorpVault,omitempty"`
	// AzureKeyVault takes parameters from Azure Key Vault.
	//
	// +optional
	AzureKeyVault *AzureKeyVault `json:"azureKeyVault,omitempty"`
	// GCPSecretManager takes parameters from Google Secret Manager.
	//
	// +optional
	GCPSecretManager *GCPSecretManager `json:"gcpSecretManager,omitempty"`
	// AwsSecretManager takes parameters from AWS Secrets Manager.
	//
	// +optional
	AwsSecretManager *AwsSecretManager `json:"awsSecretManager,omitempty"`
	// BoundServiceAccountToken mints tokens of service accounts.
	//
	// +optional
	// +listType=atomic
	BoundServiceAccountToken []BoundServiceAccountToken `json:"boundServiceAccountToken,omitempty"`
	// OAuth2 fetches tokens with client credentials.
	//
	// +optional
	OAuth2 *OAuth2 `json:"oauth2,omitempty"`
}

// PodIdentityProvider names how an identity is obtained.
//
// +kubebuilder:validation:Enum=azure-workload;gcp;aws;aws-eks;none
type PodIdentityProvider string

// The providers of pod identities.
const (
	PodIdentityNone          PodIdentityProvider = "none"
	PodIdentityAzureWorkload PodIdentityProvider = "azure-workload"
	PodIdentityGCP           PodIdentityProvider = "gcp"
	PodIdentityAWS           PodIdentityProvider = "aws"
	PodIdentityAWSEKS        PodIdentityProvider = "aws-eks"
)

// PodIdentity is the identity that triggers log in with.
type PodIdentity struct {
	// Provider of the identity.
	Provider PodIdentityProvider `json:"provider"`
	// IdentityID overrides the Azure client id.
	//
	// +optional
	IdentityID *string `json:"identityId,omitempty"`
	// IdentityTenantID overrides the Azure tenant.
	//
	// +optional
	IdentityTenantID *string `json:"identityTenantId,omitempty"`
	// IdentityAuthorityHost overrides the Azure authority. It needs
	// identityTenantId.
	//
	// +optional
	IdentityAuthorityHost *string `json:"identityAuthorityHost,omitempty"`
	// RoleArn is the AWS role to assume.
	//
	// +optional
	RoleArn *string `json:"roleArn,omitempty"`
	// ExternalID is the external id for assuming roleArn.
	//
	// +optional
	ExternalID *string `json:"externalID,omitempty"`
	// IdentityOwner chooses whose AWS role is used: the scaler's (keda) or that
	// of the workload's service account.
	//
	// +optional
	// +kubebuilder:validation:Enum=keda;workload
	IdentityOwner *string `json:"identityOwner,omitempty"`
}

// TargetRef takes one parameter from a key of a Secret or ConfigMap.
type TargetRef struct {
	// Parameter of the trigger.
	Parameter string `json:"parameter"`
	// Name of the Secret or ConfigMap.
	Name string `json:"name"`
	// Key in its data.
	Key string `json:"key"`
}

// EnvParameter takes one parameter from a variable of the target's container.
type EnvParameter struct {
	// Parameter of the trigger.
	Parameter string `json:"parameter"`
	// Name of the variable.
	Name string `json:"name"`
	// ContainerName is the container. Default: the first.
	//
	// +optional
	ContainerName string `json:"containerName,omitempty"`
}

// BoundServiceAccountToken takes one parameter from a token of a service
// account.
type BoundServiceAccountToken struct {
	// Parameter of the trigger.
	Parameter string `json:"parameter"`
	// ServiceAccountName is the account.
	ServiceAccountName string `json:"serviceAccountName"`
}

// ValueFromSecret refers to a key of a Secret.
type ValueFromSecret struct {
	// ValueFrom holds the reference.
	ValueFrom SecretKeySource `json:"valueFrom"`
}

// SecretKeySource refers to a key of a Secret.
type SecretKeySource struct {
	// SecretKeyRef is the reference.
	SecretKeyRef SecretKeyRef `json:"secretKeyRef"`
}

// SecretKeyRef names a key of a Secret.
type SecretKeyRef struct {
	// Name of the Secret.
	Name string `json:"name"`
	// Key in its data.
	Key string `json:"key"`
}

// OAuth2 fetches tokens with client credentials.
//
// +kubebuilder:validation:XValidation:rule="self.clientId != \"\"",message="clientId must not be empty"
// +kubebuilder:validation:XValidation:rule="self.tokenUrl != \"\"",message="tokenUrl must not be empty"
type OAuth2 struct {
	// Type of the grant.
	//
	// +kubebuilder:default=clientCredentials
	// +kubebuilder:validation:Enum=clientCredentials
	Type string `json:"type"`
	// ClientID of the application.
	ClientID string `json:"clientId"`
	// ClientSecret of the application.
	//
	// +optional
	ClientSecret *ValueFromSecret `json:"clientSecret,omitempty"`
	// TokenURL issues the tokens.
	TokenURL string `json:"tokenUrl"`
	// Scopes asked for.
	//
	// +optional
	// +listType=atomic
	Scopes []string `json:"scopes,omitempty"`
	// TokenURLParams are sent with each request for a token.
	//
	// +optional
	TokenURLParams map[string]string `json:"tokenUrlParams,omitempty"`
}
