package google

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/block"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// SecretManager is Google Secret Manager. It is asked over its REST API: one
// GET does not need Google's client, whose gRPC stack every family would carry.
type SecretManager struct {
	// HTTP makes the client of one Read.
	HTTP func() (*http.Client, error)
	// Endpoint is where it answers; Google's own when empty.
	Endpoint string
}

const (
	blockName = "gcpSecretManager"
	endpoint  = "https://secretmanager.googleapis.com"
	// largestAnswer bounds an answer: payloads are at most 64 KiB.
	largestAnswer = 1 << 20
)

// secretsBlock is a gcpSecretManager block.
type secretsBlock struct {
	Secrets     []secret `json:"secrets"`
	Credentials *struct {
		ClientSecret block.SecretKey `json:"clientSecret"`
	} `json:"credentials"`
	PodIdentity *struct {
		Provider string `json:"provider"`
	} `json:"podIdentity"`
}

// secret is one parameter and where it is.
type secret struct {
	Parameter string `json:"parameter"`
	ID        string `json:"id"`
	Version   string `json:"version"`
}

// Block implements store.Store.
func (SecretManager) Block() string { return blockName }

// Read implements store.Store.
func (s SecretManager) Read(ctx context.Context, raw json.RawMessage, scope store.Scope) (*store.Values, error) {
	b, err := decodeSecrets(raw)
	if err != nil {
		return nil, err
	}
	var identity Identity
	if b.usesPodIdentity() {
		if err := s.lend(scope); err != nil {
			return nil, err
		}
	} else {
		if identity.Key, err = b.Credentials.ClientSecret.Read(ctx, scope); err != nil {
			return nil, err
		}
	}
	client, err := s.HTTP()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	account, err := identity.Account(ctx, client)
	if err != nil {
		return nil, err
	}
	project := account.Project(ctx)
	if project == "" {
		return nil, words.Errorf(codes.FailedPrecondition,
			"%s: the project is not known: the key has no project_id, and the family no CLOUDSDK_CORE_PROJECT", blockName)
	}
	values := &store.Values{}
	for _, one := range b.Secrets {
		text, err := s.read(ctx, client, account, project, one)
		if err == nil {
			err = values.Set(one.Parameter, text)
		}
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

// lend sees to it that the family may be who asks.
func (s SecretManager) lend(scope store.Scope) error {
	if err := scope.OwnIdentity(); err != nil {
		return words.Errorf(status.Code(err), "%s.podIdentity: %w", blockName, err)
	}
	at, err := url.Parse(cmp.Or(s.Endpoint, endpoint))
	if err != nil {
		return words.Errorf(codes.Internal, "%s: the endpoint is not a URL", blockName)
	}
	return lending.GoogleSecretManager.CheckURL(blockName, at, true)
}

func decodeSecrets(raw json.RawMessage) (*secretsBlock, error) {
	b := &secretsBlock{}
	problems, err := block.Decode(blockName, raw, b)
	if err != nil {
		return nil, err
	}
	if len(b.Secrets) == 0 {
		problems.Add("secrets", "is empty")
	}
	for i, s := range b.Secrets {
		problems.Require(block.Item("secrets", i, "parameter"), s.Parameter, block.Item("secrets", i, "id"), s.ID)
	}
	switch {
	case b.usesPodIdentity():
		if b.PodIdentity.Provider != "gcp" {
			problems.Add("podIdentity.provider", "%q is not one of gcp, none", b.PodIdentity.Provider)
		}
	case b.Credentials == nil:
		problems.Add("credentials", "is required without podIdentity gcp")
	default:
		problems.RequireSecretKey("credentials.clientSecret", b.Credentials.ClientSecret)
	}
	return b, problems.Err()
}

func (b *secretsBlock) usesPodIdentity() bool {
	return b.PodIdentity != nil && b.PodIdentity.Provider != "" && b.PodIdentity.Provider != "none"
}

// read reads one version of one secret.
func (s SecretManager) read(ctx context.Context, client *http.Client, account *Account, project string, one secret) (string, error) {
	if one.Version == "" {
		one.Version = "latest"
	}
	what := "secret " + one.ID + " of project " + project
	token, err := account.Token()
	if err != nil {
		return "", Failure(what, err)
	}
	address := cmp.Or(s.Endpoint, endpoint) + "/v1/projects/" + url.PathEscape(project) + "/secrets/" + url.PathEscape(one.ID) +
		"/versions/" + url.PathEscape(one.Version) + ":access"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", words.Errorf(codes.InvalidArgument, "%s: the name makes no address", what)
	}
	token.SetAuthHeader(request)
	answer, err := client.Do(request)
	if err != nil {
		return "", Failure(what, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largestAnswer))
	switch {
	case answer.StatusCode != http.StatusOK:
		return "", words.Errorf(outcome.Code(answer.StatusCode), "%s: version %s: %s", what, one.Version, outcome.Text(answer.StatusCode))
	case err != nil:
		return "", Failure(what, err)
	}
	text, err := payload(body)
	if err != nil {
		return "", words.Errorf(status.Code(err), "%s: %w", what, err)
	}
	return text, nil
}

// payload takes the secret out of an answer and checks that it came whole.
func payload(body []byte) (string, error) {
	var answer struct {
		Payload *struct {
			Data   string `json:"data"`
			CRC32C string `json:"dataCrc32c"`
		} `json:"payload"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Payload == nil {
		return "", words.Errorf(codes.Unavailable, "the answer cannot be understood")
	}
	data, err := base64.StdEncoding.DecodeString(answer.Payload.Data)
	if err != nil {
		return "", words.Errorf(codes.Unavailable, "the answer cannot be understood")
	}
	if answer.Payload.CRC32C != "" {
		sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
		if answer.Payload.CRC32C != strconv.FormatUint(uint64(sum), 10) {
			return "", words.Errorf(codes.Unavailable, "the answer was damaged on its way")
		}
	}
	return string(data), nil
}
