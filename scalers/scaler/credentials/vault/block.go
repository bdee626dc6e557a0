package vault

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/block"
)

const blockName = "hashiCorpVault"

// vaultBlock is a hashiCorpVault block.
type vaultBlock struct {
	Address        string      `json:"address"`
	Authentication string      `json:"authentication"`
	Secrets        []secret    `json:"secrets"`
	Namespace      string      `json:"namespace"`
	Credential     *credential `json:"credential"`
	Role           string      `json:"role"`
	Mount          string      `json:"mount"`

	host   string // of the address
	public string // the address without user, password and query
}

type credential struct {
	Token              string `json:"token"`
	ServiceAccount     string `json:"serviceAccount"`
	ServiceAccountName string `json:"serviceAccountName"`
}

// secret is one parameter and where it is.
type secret struct {
	Parameter string   `json:"parameter"`
	Path      string   `json:"path"`
	Key       string   `json:"key"`
	Type      string   `json:"type"`
	PKIData   *pkiData `json:"pkiData"`
}

// pkiData describes the certificate to issue.
type pkiData struct {
	CommonName string `json:"commonName"`
	AltNames   string `json:"altNames"`
	IPSans     string `json:"ipSans"`
	URISans    string `json:"uriSans"`
	OtherSans  string `json:"otherSans"`
	TTL        string `json:"ttl"`
	Format     string `json:"format"`
}

// The engines; generic means: see the answer.
const (
	generic = ""
	kv1     = "secret"
	kv2     = "secretV2"
	pki     = "pki"
)

// request is what parameters have in common that are taken from one answer: a
// certificate and its key come from one issue.
type request struct {
	path, engine string
	pki          pkiData
}

func (s secret) request() request {
	r := request{path: s.path(), engine: s.Type}
	if s.PKIData != nil {
		r.pki = *s.PKIData
	}
	return r
}

func (s secret) path() string { return strings.Trim(s.Path, "/") }

// body is the request for a certificate, in the names of Vault's API.
func (s secret) body() map[string]any {
	body := map[string]any{}
	if s.PKIData == nil {
		return body
	}
	for name, value := range map[string]string{
		"common_name": s.PKIData.CommonName, "alt_names": s.PKIData.AltNames, "ip_sans": s.PKIData.IPSans,
		"uri_sans": s.PKIData.URISans, "other_sans": s.PKIData.OtherSans, "ttl": s.PKIData.TTL, "format": s.PKIData.Format,
	} {
		if value != "" {
			body[name] = value
		}
	}
	return body
}

// decode reads and checks a block.
func decode(raw json.RawMessage) (*vaultBlock, error) {
	b := &vaultBlock{}
	problems, err := block.Decode(blockName, raw, b)
	if err != nil {
		return nil, err
	}
	b.checkAddress(problems)
	switch b.Authentication {
	case "kubernetes":
		b.Mount = strings.Trim(b.Mount, "/")
		if b.Role == "" {
			problems.Add("role", "is required with kubernetes")
		}
		if b.Mount == "" {
			problems.Add("mount", "is required with kubernetes")
		}
	case "token": // where it comes from is seen at the login
	default:
		problems.Add("authentication", "%q is not one of token, kubernetes", b.Authentication)
	}
	if len(b.Secrets) == 0 {
		problems.Add("secrets", "is empty")
	}
	for i, s := range b.Secrets {
		problems.Require(
			block.Item("secrets", i, "parameter"), s.Parameter,
			block.Item("secrets", i, "path"), s.Path,
			block.Item("secrets", i, "key"), s.Key)
		if !slices.Contains([]string{generic, kv1, kv2, pki}, s.Type) {
			problems.Add(block.Item("secrets", i, "type"), "%q is not one of secret, secretV2, pki", s.Type)
		}
		if s.Type == kv2 && s.Path != "" && !slices.Contains(strings.Split(s.path(), "/"), "data") {
			problems.Add(block.Item("secrets", i, "path"), "needs the segment data with secretV2, as in secret/data/orders")
		}
	}
	return b, problems.Err()
}

func (b *vaultBlock) checkAddress(problems *block.Problems) {
	if strings.TrimSpace(b.Address) == "" {
		problems.Add("address", "is required")
		return
	}
	u, err := url.Parse(b.Address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		problems.Add("address", "is not an http or https URL")
		return
	}
	b.host = u.Hostname()
	b.public = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// field names the i-th secret.
func (b *vaultBlock) field(i int) string { return fmt.Sprintf("%s.secrets[%d]", blockName, i) }
