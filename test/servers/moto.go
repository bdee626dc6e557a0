package servers

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
)

// MotoOptions says what kind of Moto server to start. The zero value answers
// to everybody at 127.0.0.1.
type MotoOptions struct {
	// Address is where it binds; default 127.0.0.1.
	Address string
	// Dir holds the log and is kept; default: a folder that Close removes.
	Dir string
}

// MotoServer is a running Moto: the APIs of AWS (SQS, Kinesis, DynamoDB,
// CloudWatch, STS, Secrets Manager and more) at one address. What is created
// in it lives in its memory: a Restart begins with nothing.
type MotoServer struct {
	single

	address string
	client  *http.Client
}

// StartMoto starts a server and returns when it answers. ctx bounds the start;
// the server lives until Close.
func StartMoto(ctx context.Context, o MotoOptions) (*MotoServer, error) {
	m := &MotoServer{client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	if err := m.start(ctx, o); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *MotoServer) start(ctx context.Context, o MotoOptions) error {
	program, err := python()
	if err != nil {
		return err
	}
	dir, log, err := m.settle("moto", o.Dir)
	if err != nil {
		return err
	}
	o.Address = cmp.Or(o.Address, loopback)
	ports, err := freePorts(ctx, o.Address, 1)
	if err != nil {
		return err
	}
	m.address = hostPort(o.Address, ports[0])
	m.Node = &Node{
		name: "moto",
		log:  log,
		command: func() *exec.Cmd {
			// Lives until Node ends it, not until a context does.
			cmd := exec.Command(program, "-m", "moto.server", "-H", o.Address, "-p", fmt.Sprint(ports[0])) //nolint:noctx // see above
			cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1"}
			return cmd
		},
		probe: func(ctx context.Context) error {
			_, err := m.ask(ctx, http.MethodGet, "/moto-api/data.json", "", nil)
			return err
		},
	}
	return m.Restart(ctx)
}

// URL is where every service answers, for awsEndpoint for example.
func (m *MotoServer) URL() string { return "http://" + m.address }

// Addr is the host:port of URL, for a fault.Proxy for example.
func (m *MotoServer) Addr() string { return m.address }

// CheckLogins makes the server check the signature of every request from now
// on, and whether its user may do what it asks. Users come from AddUser.
func (m *MotoServer) CheckLogins(ctx context.Context) error {
	_, err := m.ask(ctx, http.MethodPost, "/moto-api/reset-auth", "", strings.NewReader("0"))
	return err
}

// AddUser makes a user with this policy, a JSON document, and returns its first
// access key. It comes before CheckLogins.
func (m *MotoServer) AddUser(ctx context.Context, name, policy string) (id, secret string, err error) {
	if _, err := m.iam(ctx, url.Values{"Action": {"CreateUser"}, "UserName": {name}}); err != nil {
		return "", "", err
	}
	if _, err := m.iam(ctx, url.Values{
		"Action": {"PutUserPolicy"}, "UserName": {name}, "PolicyName": {"policy"}, "PolicyDocument": {policy},
	}); err != nil {
		return "", "", err
	}
	answer, err := m.iam(ctx, url.Values{"Action": {"CreateAccessKey"}, "UserName": {name}})
	if err != nil {
		return "", "", err
	}
	var key struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	err = xml.Unmarshal(answer, &key)
	return key.ID, key.Secret, err
}

// iam asks the service of that name, which a request names by the scope of its
// signature.
func (m *MotoServer) iam(ctx context.Context, form url.Values) ([]byte, error) {
	const scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
	form.Set("Version", "2010-05-08")
	return m.ask(ctx, http.MethodPost, "/", scope, strings.NewReader(form.Encode()))
}

func (m *MotoServer) ask(ctx context.Context, method, path, authorization string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, m.URL()+path, body)
	if err != nil {
		return nil, err
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := m.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("moto: %s %s: %s: %s", method, path, answer.Status, text)
	}
	return text, err
}
