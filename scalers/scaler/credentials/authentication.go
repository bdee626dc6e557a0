package credentials

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// allowedNamespaces is the annotation of a ClusterTriggerAuthentication with the
// namespaces whose objects may use it, written as contract.AllowedHosts is. Both
// keep its users from turning it against its owner.
const allowedNamespaces = "sluice.dev/allowed-namespaces"

// authentication is a TriggerAuthentication or ClusterTriggerAuthentication, as
// the API has it.
type authentication struct {
	measured
	Metadata metadata `json:"metadata"`
	Spec     spec     `json:"spec"`
}

type spec struct {
	PodIdentity              *podIdentity   `json:"podIdentity"`
	SecretTargetRef          []targetRef    `json:"secretTargetRef"`
	ConfigMapTargetRef       []targetRef    `json:"configMapTargetRef"`
	Env                      []envParameter `json:"env"`
	FilePath                 string         `json:"filePath"`
	BoundServiceAccountToken []boundToken   `json:"boundServiceAccountToken"`
	OAuth2                   *oauth2        `json:"oauth2"`

	// Blocks of secret stores, as they are.
	HashiCorpVault   json.RawMessage `json:"hashiCorpVault"`
	AzureKeyVault    json.RawMessage `json:"azureKeyVault"`
	GCPSecretManager json.RawMessage `json:"gcpSecretManager"`
	AWSSecretManager json.RawMessage `json:"awsSecretManager"`
}

type podIdentity struct {
	Provider              string  `json:"provider"`
	IdentityID            *string `json:"identityId"`
	IdentityTenantID      *string `json:"identityTenantId"`
	IdentityAuthorityHost *string `json:"identityAuthorityHost"`
	RoleArn               *string `json:"roleArn"`
	ExternalID            *string `json:"externalID"`
	IdentityOwner         *string `json:"identityOwner"`
}

type targetRef struct {
	Parameter string `json:"parameter"`
	Name      string `json:"name"`
	Key       string `json:"key"`
}

type envParameter struct {
	Parameter     string `json:"parameter"`
	Name          string `json:"name"`
	ContainerName string `json:"containerName"`
}

type boundToken struct {
	Parameter          string `json:"parameter"`
	ServiceAccountName string `json:"serviceAccountName"`
}

type oauth2 struct {
	ClientID     string `json:"clientId"`
	ClientSecret *struct {
		ValueFrom struct {
			SecretKeyRef targetRef `json:"secretKeyRef"`
		} `json:"valueFrom"`
	} `json:"clientSecret"`
	TokenURL       string            `json:"tokenUrl"`
	Scopes         []string          `json:"scopes"`
	TokenURLParams map[string]string `json:"tokenUrlParams"`
}

// references is how many things the spec names outside of stores, which bound
// theirs by the size of the object.
func (s *spec) references() int {
	return len(s.SecretTargetRef) + len(s.ConfigMapTargetRef) + len(s.Env) + len(s.BoundServiceAccountToken)
}

// storeBlock is one block of a secret store.
type storeBlock struct {
	name string
	text json.RawMessage
}

// storeBlocks are those that the spec has, in the order in which they count.
func (s *spec) storeBlocks() []storeBlock {
	var blocks []storeBlock
	for _, b := range []storeBlock{
		{"hashiCorpVault", s.HashiCorpVault},
		{"azureKeyVault", s.AzureKeyVault},
		{"gcpSecretManager", s.GCPSecretManager},
		{"awsSecretManager", s.AWSSecretManager},
	} {
		if len(b.text) > 0 && string(b.text) != "null" {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// parameters of the block that are no secret.
func (o *oauth2) parameters() map[string]string {
	p := map[string]string{"oauthTokenURI": o.TokenURL, "clientID": o.ClientID}
	if len(o.Scopes) > 0 {
		p["scopes"] = strings.Join(o.Scopes, ",")
	}
	if len(o.TokenURLParams) > 0 {
		values := url.Values{}
		for key, value := range o.TokenURLParams {
			values.Set(key, value)
		}
		p["endpointParams"] = values.Encode()
	}
	return p
}

// list reads an annotation; nil means that it is not there. An annotation that
// is there and empty allows nothing.
func (m metadata) list(annotation string) []string {
	text, ok := m.Annotations[annotation]
	if !ok {
		return nil
	}
	list := []string{}
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			list = append(list, entry)
		}
	}
	return list
}

// patterns reads an annotation of patterns.
func (m metadata) patterns(annotation string) ([]string, error) {
	list := m.list(annotation)
	for _, pattern := range list {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("annotation %s: %q is not a pattern", annotation, pattern)
		}
	}
	return list, nil
}
