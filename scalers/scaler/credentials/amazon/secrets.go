package amazon

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/block"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Secrets is AWS Secrets Manager.
type Secrets struct {
	// HTTP makes the client of one Read.
	HTTP func() (*http.Client, error)
}

const blockName = "awsSecretManager"

// secretsBlock is an awsSecretManager block.
type secretsBlock struct {
	Secrets     []secret `json:"secrets"`
	Credentials *struct {
		AccessKey       block.SecretKey  `json:"accessKey"`
		AccessSecretKey block.SecretKey  `json:"accessSecretKey"`
		AccessToken     *block.SecretKey `json:"accessToken"`
	} `json:"credentials"`
	PodIdentity *struct {
		Provider      string `json:"provider"`
		RoleARN       string `json:"roleArn"`
		ExternalID    string `json:"externalID"`
		IdentityOwner string `json:"identityOwner"`
	} `json:"podIdentity"`
	Region string `json:"region"`
}

// secret is one parameter and where it is.
type secret struct {
	Parameter    string `json:"parameter"`
	Name         string `json:"name"`
	VersionID    string `json:"versionId"`
	VersionStage string `json:"versionStage"`
	SecretKey    string `json:"secretKey"`
}

// version is what parameters have in common that are taken from one answer.
type version struct{ name, id, stage string }

// Block implements store.Store.
func (Secrets) Block() string { return blockName }

// Read implements store.Store.
func (s Secrets) Read(ctx context.Context, raw json.RawMessage, scope store.Scope) (*store.Values, error) {
	b, err := decodeSecrets(raw)
	if err != nil {
		return nil, err
	}
	identity, err := b.identity(ctx, scope)
	if err != nil {
		return nil, err
	}
	client, err := s.HTTP()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	config, err := identity.Config(ctx, client)
	if err != nil {
		return nil, err
	}
	config.HTTPClient = client
	if identity.Own() {
		config.HTTPClient = lending.AmazonSecretsManager.Guard(client, blockName+".region")
	}
	if config.Region == "" {
		return nil, words.Errorf(codes.InvalidArgument, "%s.region: is required, the family has no AWS_REGION", blockName)
	}
	service := secretsmanager.NewFromConfig(config)
	values := &store.Values{}
	texts := map[version]string{}
	for _, one := range b.Secrets {
		v := version{one.Name, one.VersionID, one.VersionStage}
		text, read := texts[v]
		if !read {
			if text, err = v.read(ctx, service); err != nil {
				return nil, err
			}
			texts[v] = text
		}
		text, err := one.pick(text)
		if err == nil {
			err = values.Set(one.Parameter, text)
		}
		if err != nil {
			return nil, err
		}
	}
	return values, nil
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
		problems.Require(block.Item("secrets", i, "parameter"), s.Parameter, block.Item("secrets", i, "name"), s.Name)
	}
	b.checkIdentity(problems)
	return b, problems.Err()
}

func (b *secretsBlock) checkIdentity(problems *block.Problems) {
	switch {
	case b.usesPodIdentity():
		if b.PodIdentity.Provider != "aws" {
			problems.Add("podIdentity.provider", "%q is not one of aws, none", b.PodIdentity.Provider)
		}
		if b.PodIdentity.RoleARN != "" && b.PodIdentity.IdentityOwner == "workload" {
			problems.Add("podIdentity.roleArn", "cannot be combined with identityOwner workload")
		}
		if b.PodIdentity.ExternalID != "" && b.PodIdentity.RoleARN == "" {
			problems.Add("podIdentity.externalID", "needs roleArn")
		}
	case b.Credentials == nil:
		problems.Add("credentials", "is required without podIdentity aws")
	default:
		problems.RequireSecretKey("credentials.accessKey", b.Credentials.AccessKey)
		problems.RequireSecretKey("credentials.accessSecretKey", b.Credentials.AccessSecretKey)
		if token := b.Credentials.AccessToken; token != nil {
			problems.RequireSecretKey("credentials.accessToken", *token)
		}
	}
}

func (b *secretsBlock) usesPodIdentity() bool {
	return b.PodIdentity != nil && b.PodIdentity.Provider != "" && b.PodIdentity.Provider != "none"
}

// identity is who asks Secrets Manager.
func (b *secretsBlock) identity(ctx context.Context, scope store.Scope) (Identity, error) {
	id := Identity{Region: b.Region, RegionOf: blockName + ".region", Federated: true}
	var err error
	if b.usesPodIdentity() {
		if err = scope.OwnIdentity(); err != nil {
			return id, words.Errorf(status.Code(err), "%s.podIdentity: %w", blockName, err)
		}
	}
	switch {
	case !b.usesPodIdentity():
		if id.AccessKeyID, err = b.Credentials.AccessKey.Read(ctx, scope); err != nil {
			return id, err
		}
		if id.SecretAccessKey, err = b.Credentials.AccessSecretKey.Read(ctx, scope); err != nil {
			return id, err
		}
		if token := b.Credentials.AccessToken; token != nil {
			id.SessionToken, err = token.Read(ctx, scope)
		}
	case b.PodIdentity.IdentityOwner == "workload":
		id.RoleARN, err = scope.WorkloadRole(ctx)
	default:
		id.RoleARN, id.ExternalID = b.PodIdentity.RoleARN, b.PodIdentity.ExternalID
	}
	return id, err
}

func (v version) read(ctx context.Context, service *secretsmanager.Client) (string, error) {
	question := &secretsmanager.GetSecretValueInput{SecretId: &v.name}
	if v.id != "" {
		question.VersionId = &v.id
	}
	if v.stage != "" {
		question.VersionStage = &v.stage
	}
	answer, err := service.GetSecretValue(ctx, question)
	if err != nil {
		failure := status.Convert(Failure(err))
		return "", words.Errorf(failure.Code(), "secret %s: %s", v.name, failure.Message())
	}
	text := aws.ToString(answer.SecretString)
	if text == "" && len(answer.SecretBinary) > 0 {
		return "", words.Errorf(codes.FailedPrecondition, "secret %s: is binary, not text", v.name)
	}
	return text, nil
}

// pick takes the parameter out of the secret's text.
func (s secret) pick(text string) (string, error) {
	if s.SecretKey == "" {
		return text, nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return "", words.Errorf(codes.FailedPrecondition, "secret %s: is not a JSON object, so it has no key %s", s.Name, s.SecretKey)
	}
	value, there := object[s.SecretKey]
	if !there {
		return "", words.Errorf(codes.NotFound, "secret %s: has no key %s", s.Name, s.SecretKey)
	}
	var picked *string
	if json.Unmarshal(value, &picked) != nil || picked == nil {
		return "", words.Errorf(codes.FailedPrecondition, "secret %s: key %s is not a text", s.Name, s.SecretKey)
	}
	return *picked, nil
}
