package v1alpha1

// HashiCorpVault takes parameters from Vault.
type HashiCorpVault struct {
	// Address of Vault.
	Address string `json:"address"`
	// Authentication is the login method.
	Authentication VaultAuthentication `json:"authentication"`
	// Secrets to read.
	//
	// +kubebuilder:validation:MinItems=1
	// +listType=atomic
	Secrets []VaultSecret `json:"secrets"`
	// Namespace in Vault Enterprise.
	//
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Credential of the login.
	//
	// +optional
	Credential *VaultCredential `json:"credential,omitempty"`
	// Role for the kubernetes method, where it is required.
	//
	// +optional
	Role string `json:"role,omitempty"`
	// Mount of the kubernetes method, where it is required.
	//
	// +optional
	Mount string `json:"mount,omitempty"`
}

// VaultAuthentication is a login method of Vault.
//
// +kubebuilder:validation:Enum=token;kubernetes
type VaultAuthentication string

// The login methods.
const (
	VaultAuthenticationToken      VaultAuthentication = "token"
	VaultAuthenticationKubernetes VaultAuthentication = "kubernetes"
)

// VaultCredential is what a login presents.
type VaultCredential struct {
	// Token for method token.
	//
	// +optional
	Token string `json:"token,omitempty"`
	// ServiceAccount is the path of a file with a token, for method kubernetes.
	//
	// +optional
	ServiceAccount string `json:"serviceAccount,omitempty"`
	// ServiceAccountName is the account to mint a token for, for method
	// kubernetes.
	//
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}

// VaultSecretType is the engine behind a path; empty means: see the answer.
//
// +kubebuilder:validation:Enum="";secret;secretV2;pki
type VaultSecretType string

// The engines.
const (
	VaultSecretGeneric VaultSecretType = ""
	VaultSecretV1      VaultSecretType = "secret"
	VaultSecretV2      VaultSecretType = "secretV2"
	VaultSecretPKI     VaultSecretType = "pki"
)

// VaultSecret takes one parameter from a path of Vault.
type VaultSecret struct {
	// Parameter of the trigger.
	Parameter string `json:"parameter"`
	// Path in Vault.
	Path string `json:"path"`
	// Key in the answer.
	Key string `json:"key"`
	// Type of the engine.
	//
	// +optional
	Type VaultSecretType `json:"type,omitempty"`
	// PKIData describes the certificate to issue, for type pki.
	//
	// +optional
	PKIData *VaultPKIData `json:"pkiData,omitempty"`
}

// VaultPKIData describes the certificate to issue.
type VaultPKIData struct {
	// CommonName of the certificate.
	//
	// +optional
	CommonName string `json:"commonName,omitempty"`
	// AltNames of the certificate.
	//
	// +optional
	AltNames string `json:"altNames,omitempty"`
	// IPSans are its addresses.
	//
	// +optional
	IPSans string `json:"ipSans,omitempty"`
	// URISans are its URIs.
	//
	// +optional
	URISans string `json:"uriSans,omitempty"`
	// OtherSans are further names.
	//
	// +optional
	OtherSans string `json:"otherSans,omitempty"`
	// TTL of the certificate.
	//
	// +optional
	TTL string `json:"ttl,omitempty"`
	// Format of the certificate.
	//
	// +optional
	Format string `json:"format,omitempty"`
}

// AzureKeyVault takes parameters from Azure Key Vault.
type AzureKeyVault struct {
	// VaultURI locates the vault.
	VaultURI string `json:"vaultUri"`
	// Secrets to read.
	//
	// +kubebuilder:validation:MinItems=1
	// +listType=atomic
	Secrets []AzureKeyVaultSecret `json:"secrets"`
	// Credentials of an application.
	//
	// +optional
	Credentials *AzureKeyVaultCredentials `json:"credentials,omitempty"`
	// PodIdentity instead of credentials.
	//
	// +optional
	PodIdentity *PodIdentity `json:"podIdentity,omitempty"`
	// Cloud, for sovereign clouds.
	//
	// +optional
	Cloud *AzureKeyVaultCloud `json:"cloud,omitempty"`
}

// AzureKeyVaultSecret takes one parameter from a secret.
type AzureKeyVaultSecret struct {
	// Parameter of the trigger.
	Parameter string `json:"parameter"`
	// Name of the secret.
	Name string `json:"name"`
	// Version of the secret. Default: the latest.
	//
	// +optional
	Version string `json:"version,omitempty"`
}

// AzureKeyVaultCredentials are those of an application.
type AzureKeyVaultCredentials struct {
	// ClientID of the application.
	ClientID string `json:"clientId"`
	// TenantID of the application.
	TenantID string `json:"tenantId"`
	// ClientSecret of the application.
	ClientSecret ValueFromSecret `json:"clientSecret"`
}

// AzureKeyVaultCloud names a cloud and, for a private one, its endpoints.
type AzureKeyVaultCloud struct {
	// Type of the cloud.
	Type string `json:"type"`
	// KeyVaultResourceURL of a private cloud.
	//
	// +optional
	KeyVaultResourceURL string `json:"keyVaultResourceURL,omitempty"`
	// ActiveDirectoryEndpoint of a private cloud.
	//
	// +optional
	ActiveDirectoryEndpoint string `json:"activeDirectoryEndpoint,omitempty"`
}

// AwsSecretManager takes parameters from AWS Secrets Manager.
type AwsSecretManager struct {
	// Secrets to read.
	//
	// +kubebuilder:validation:MinItems=1
	// +listType=atomic
	Secrets []AwsSecretManagerSecret `json:"secrets"`
	// Credentials of a user.
	//
	// +optional
	Credentials *AwsSecretManagerCredentials `json:"credentials,omitempty"`
	// PodIdentity instead of credentials.
	//
	// +optional
	PodIdentity *PodIdentity `json:"podIdentity,omitempty"`
	// Region of the secrets.
	//
	// +optional
	Region string `json:"region,omitempty"`
}

// AwsSecretManagerSecret takes one parameter from a secret.
type AwsSecretManagerSecret struct {
	// Parameter of the trigger.
	Parameter string `json:"parameter"`
	// Name of the secret.
	Name string `json:"name"`
	// VersionID of the secret.
	//
	// +optional
	VersionID string `json:"versionId,omitempty"`
	// VersionStage of the secret.
	//
	// +optional
	VersionStage string `json:"versionStage,omitempty"`
	// SecretKey is a key of the secret's JSON object. Default: the whole secret.
	//
	// +optional
	SecretKey string `json:"secretKey,omitempty"`
}

// AwsSecretManagerCredentials are those of a user or session.
type AwsSecretManagerCredentials struct {
	// AccessKey is the key's id.
	AccessKey ValueFromSecret `json:"accessKey"`
	// AccessSecretKey is the key.
	AccessSecretKey ValueFromSecret `json:"accessSecretKey"`
	// AccessToken of a session.
	//
	// +optional
	AccessToken *ValueFromSecret `json:"accessToken,omitempty"`
}

// GCPSecretManager takes parameters from Google Secret Manager.
type GCPSecretManager struct {
	// Secrets to read.
	//
	// +kubebuilder:validation:MinItems=1
	// +listType=atomic
	Secrets []GCPSecretManagerSecret `json:"secrets"`
	// Credentials of a service account.
	//
	// +optional
	Credentials *GCPSecretManagerCredentials `json:"credentials,omitempty"`
	// PodIdentity instead of credentials.
	//
	// +optional
	PodIdentity *PodIdentity `json:"podIdentity,omitempty"`
}

// GCPSecretManagerSecret takes one parameter from a secret.
type GCPSecretManagerSecret struct {
	// Parameter of the trigger.
	Parameter string `json:"parameter"`
	// ID of the secret.
	ID string `json:"id"`
	// Version of the secret. Default: latest.
	//
	// +optional
	Version string `json:"version,omitempty"`
}

// GCPSecretManagerCredentials are those of a service account.
type GCPSecretManagerCredentials struct {
	// ClientSecret is the service account's key, in JSON.
	ClientSecret ValueFromSecret `json:"clientSecret"`
}
