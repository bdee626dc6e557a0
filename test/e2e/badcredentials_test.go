package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestBadCredentials gives an object at work one authentication after the other
// that cannot be right. Each has its message, and no replica moves.
func TestBadCredentials(t *testing.T) {
	t.Parallel()
	c := credentials{t, namespace(t)}
	grant(t, c.namespace, "rabbitmq", "sluice-scaler-credentials")
	url := world.rabbitmq.AMQPURL("/")
	c.secret("good", map[string]string{"host": url, "empty": ""})
	c.authentication("good", "host")
	c.apply(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": c.namespace, "name": "binary"},
		"data": map[string]any{"host": []byte{0xff, 0xfe, 0}},
	})
	queue := rabbitMQQueue(t, "bad-credentials", url)
	if err := queue.Produce(t.Context(), 15); err != nil {
		t.Fatal(err)
	}
	o := object{t, c.namespace, "worker"}
	c.inACircle(o.name)
	with := func(name string) {
		o.apply(authenticated(queue.Trigger(5), map[string]string{"host": ""}, authenticationRef(name)))
	}
	with("good")
	o.waitReplicas(3)
	moves := o.moves()
	err := o.tryApply(authenticated(queue.Trigger(5), nil, map[string]any{"authenticationRef": map[string]any{"name": "good", "kind": "Secret"}}))
	if err == nil || !strings.Contains(err.Error(), `authenticationRef.kind: Unsupported value: "Secret"`) {
		t.Errorf("a kind that is none: %v", err)
	}

	vault := vaultStandIn(t)
	secret := func(name, key string) map[string]any {
		return map[string]any{"secretTargetRef": []map[string]string{{"parameter": "host", "name": name, "key": key}}}
	}
	inVault := func(token string) map[string]any {
		return map[string]any{"hashiCorpVault": map[string]any{
			"address": vault, "authentication": "token", "credential": map[string]string{"token": token},
			"secrets": []map[string]string{{"parameter": "host", "type": "secret", "path": "kv/orders", "key": "host"}},
		}}
	}
	for i, tt := range []struct {
		spec    map[string]any // of the authentication; nil for one that is not there
		message string
	}{
		{nil, "authenticationRef: TriggerAuthentication NAMESPACE/bad-0 does not exist"},
		{secret("gone", "host"), "secretTargetRef[0] (host): Secret NAMESPACE/gone does not exist"},
		{secret("good", "hst"), "secretTargetRef[0] (host): Secret NAMESPACE/good has no key hst"},
		{secret("good", "empty"), "secretTargetRef[0] (host): Secret NAMESPACE/good: the value of key empty is empty"},
		{secret("binary", "host"), "host: the value from authentication is binary and not text"},
		{secret("keda/good", "host"), `"keda/good" is not the name of a Secret: those of other namespaces cannot be used`},
		{map[string]any{"env": []map[string]string{{"parameter": "host", "name": "A"}}}, "env[0] (host): variable A refers to itself: A -> B -> A"},
		{inVault("sealed"), "is sealed or in maintenance (503)"},
		{inVault("expired"), "token is expired, revoked or without the right to look itself up (403 Forbidden)"},
		{inVault("good"), "path kv/orders does not exist"},
	} {
		name := fmt.Sprintf("bad-%d", i)
		if tt.spec != nil {
			c.apply(map[string]any{
				"apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
				"metadata": map[string]any{"namespace": c.namespace, "name": name}, "spec": tt.spec,
			})
		}
		with(name)
		o.waitCondition("Ready", "False", strings.ReplaceAll(tt.message, "NAMESPACE", c.namespace))
		o.unmoved(3)
	}
	with("good")
	o.waitCondition("Ready", "True", "")
	if have := o.moves(); have != moves {
		t.Errorf("the Deployment was scaled: generation %d, then %d", moves, have)
	}
}

// inACircle makes a Deployment with variables that refer to each other.
func (c credentials) inACircle(name string) {
	c.t.Helper()
	c.deploymentWith(name, []map[string]any{{"name": "A", "value": "$(B)"}, {"name": "B", "value": "$(A)"}})
}

// vaultStandIn answers as Vault does, by the token that it is shown: the tests
// of the library hold both against each other.
func vaultStandIn(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(world.cluster.Address(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		lookup := request.URL.Path == "/v1/auth/token/lookup-self"
		switch token := request.Header.Get("X-Vault-Token"); {
		case token == "sealed":
			http.Error(w, `{"errors":["Vault is sealed"]}`, http.StatusServiceUnavailable)
		case token == "good" && lookup:
			fmt.Fprint(w, `{"data":{"ttl":3600,"creation_ttl":3600,"renewable":false}}`)
		case token == "good":
			http.Error(w, `{"errors":[]}`, http.StatusNotFound)
		default:
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}
