package attacks

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestMixing has tenants add something of their own to what the cluster's owner
// gives to all, so that its secret would be sent to them.
func TestMixing(t *testing.T) {
	t.Parallel()
	others := standBy(t, "http", "redis")
	owner := house{t, shared, world.cluster.Client()}
	owner.grant("http", "redis")
	// Hosts are what a ClusterTriggerAuthentication can be kept to.
	const address = "203.0.113.7"
	if err := addAddress(address); err != nil {
		t.Fatal(err)
	}
	trusted := honest(t, address)
	trusted.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
		}
		fmt.Fprintf(w, `{"access_token": "%s-token", "token_type": "Bearer", "value": 0}`, marked)
	}))
	owner.give("mixing-oauth", address, map[string]string{
		"authModes": "oauth", "oauthTokenURI": trusted.url() + "/token", "clientID": "all", "clientSecret": marked + "-oauth",
	})
	owner.give("mixing-redis", address, map[string]string{"password": marked + "-redis", "address": address + ":6379"})
	enemy := tenant(t)
	enemy.grant("http", "redis")
	api := func(url string) trigger {
		return triggerOf("metrics-api", map[string]string{"url": url, "valueLocation": "value", "targetValue": "1"})
	}
	enemy.scale("as-it-is-meant", nil, api(trusted.url()).withShared("mixing-oauth")).waitReady("True", "")

	stolen := listen(t)
	stolen.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"access_token": "x", "token_type": "Bearer", "value": 1}`)
	}))
	enemy.secret("mine", map[string]string{"oauthTokenURI": stolen.url() + "/token", "address": stolen.address(), "authModes": "basic"})
	mine := func(t trigger, parameters ...string) trigger {
		var refs []map[string]string
		for _, p := range parameters {
			refs = append(refs, map[string]string{"parameter": p, "name": "mine", "key": p})
		}
		t["secretKeyRef"] = refs
		return t
	}
	redis := func(metadata map[string]string) trigger {
		metadata["listName"] = "jobs"
		return triggerOf("redis", metadata).withShared("mixing-redis")
	}
	inMetadata := api(trusted.url()).withShared("mixing-oauth")
	inMetadata["metadata"].(map[string]string)["oauthTokenURI"] = stolen.url() + "/token"
	attempts := map[string]trigger{
		"token-endpoint": mine(api(trusted.url()).withShared("mixing-oauth"), "oauthTokenURI"),
		"mode":           mine(api(trusted.url()).withShared("mixing-oauth"), "authModes"),
		"url":            api(stolen.url()).withShared("mixing-oauth"),
		"redirect":       api(enemyRedirect(t, stolen)).withShared("mixing-oauth"),
		"address":        redis(map[string]string{"address": stolen.address()}),
		"addresses":      redis(map[string]string{"addresses": stolen.address()}),
		"host":           redis(map[string]string{"host": strings.Split(stolen.address(), ":")[0], "port": strings.Split(stolen.address(), ":")[1]}),
		"secret-address": mine(redis(map[string]string{}), "address"),
	}
	var all []scaled
	for name, attempt := range attempts {
		all = append(all, enemy.scale(name, nil, attempt))
	}
	// What is another namespace's cannot be named.
	enemy.apply("TriggerAuthentication", "theirs", map[string]any{"spec": map[string]any{"secretTargetRef": []map[string]string{
		{"parameter": "clientSecret", "name": shared + "/mixing-oauth", "key": "clientSecret"},
	}}})
	all = append(all, enemy.scale("theirs", nil, api(stolen.url()).with("theirs")))
	for _, s := range all {
		s.waitReady("False", "")
	}
	// It is no part of the token's request that a wrong place for a parameter has
	// no effect.
	enemy.scale("metadata", nil, inMetadata)
	others.goOn()
	if stolen.wasAsked() {
		t.Errorf("the enemy's server was sent %q", stolen.text())
	}
	unharmed(t)
}

// enemyRedirect is where to be sent on to another server from.
func enemyRedirect(t *testing.T, to *server) string {
	return web(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to.url(), http.StatusTemporaryRedirect)
	}).url()
}

// give makes a ClusterTriggerAuthentication of a Secret of these values, for one
// host.
func (h house) give(name, host string, data map[string]string) {
	h.t.Helper()
	h.secret(name, data)
	h.apply("ClusterTriggerAuthentication", name, map[string]any{
		"metadata": map[string]any{"name": name, "annotations": map[string]string{"sluice.dev/allowed-hosts": host}},
		"spec":     map[string]any{"secretTargetRef": references(name, data)},
	})
}

// withShared adds a ClusterTriggerAuthentication.
func (t trigger) withShared(authentication string) trigger {
	t["authenticationRef"] = map[string]any{"name": authentication, "kind": "ClusterTriggerAuthentication"}
	return t
}
