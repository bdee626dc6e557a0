package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestLogins(t *testing.T) {
	r := servers.Redis(t, servers.RedisOptions{
		Password: "topsecret", TLS: true,
		Config: "user reader on >reading ~* &* +@read +@connection\n" + // no scripts
			"user stranger on >strange ~other:* +@all\n" +
			"user anybody on nopass ~* +@read +@connection\n",
	})
	for key, n := range map[string]string{"jobs": "3", "other:jobs": "1"} {
		command := append([]string{"RPUSH", key}, strings.Split("abcde", "")[:n[0]-'0']...)
		if _, err := r.Do(within(t), command...); err != nil {
			t.Fatal(err)
		}
	}
	certificate, key, err := r.Authority.Client("worker")
	if err != nil {
		t.Fatal(err)
	}
	ca := string(r.Authority.CA)
	three := scalertest.Observation{Value: 3, Active: true}
	what := "redis: key jobs: redis " + r.Addr() + ": "
	tests := map[string]struct {
		metadata, auth, env map[string]string
		want                scalertest.Observation
		code                codes.Code
		message             string
	}{
		"the default user": {auth: map[string]string{"password": "topsecret"}, want: three},
		"a user who may run no scripts": {
			auth: map[string]string{"username": "reader", "password": "reading"}, want: three},
		"from the environment": {
			metadata: map[string]string{"passwordFromEnv": "REDIS_PASSWORD"}, env: map[string]string{"REDIS_PASSWORD": "topsecret"}, want: three},
		"the trigger's own user goes first": {
			metadata: map[string]string{"username": "reader"}, auth: map[string]string{"username": "nobody", "password": "reading"}, want: three},
		"a wrong password": {
			auth: map[string]string{"password": "secret-but-wrong"}, code: codes.Unauthenticated, message: what + "login refused: wrong user or password"},
		"a wrong password that is a word of the message": {
			auth: map[string]string{"password": "wrong"}, code: codes.Unauthenticated, message: what + "login refused: wrong user or password"},
		"no password": {code: codes.Unauthenticated, message: what + "login refused: a password is required"},
		"a user without the permission": {
			auth: map[string]string{"username": "stranger", "password": "strange"}, code: codes.PermissionDenied,
			message: what + "the user lacks the permission for the key or a command that reads it"},
		"TLS by the authentication": {
			metadata: map[string]string{"enableTLS": ""}, auth: map[string]string{"tls": "enable", "password": "topsecret", "ca": ca}, want: three},
		"a client certificate, spelled as of old": {
			auth: map[string]string{"password": "topsecret", "Cert": string(certificate), "key": string(key)}, want: three},
		"an unknown authority": {
			auth: map[string]string{"ca": "", "password": "topsecret"}, code: codes.Unavailable,
			message: what + "the certificate of the server is signed by an unknown authority, see parameter ca"},
		"any certificate": {
			metadata: map[string]string{"unsafeSsl": "true"}, auth: map[string]string{"ca": "", "password": "topsecret"}, want: three},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := map[string]string{"address": r.Addr(), "listName": "jobs", "enableTLS": "true"}
			maps.Copy(metadata, tt.metadata)
			auth := map[string]string{"ca": ca}
			maps.Copy(auth, tt.auth)
			got, err := family.WithAuth(auth).WithEnv(tt.env).Observe(t.Context(), "redis", metadata)
			if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestWrongPlaces(t *testing.T) {
	one, c := servers.SharedRedis(t), servers.SharedCluster(t)
	s := servers.SharedSentinel(t)
	family := scalertest.Serve(t, triggers...)
	// A key whose slot is not on the first node.
	client := operator(t, &redis.UniversalOptions{Addrs: c.Addrs()})
	key := ""
	for {
		key += "x"
		node, err := client.(*redis.ClusterClient).MasterForKey(within(t), key)
		if err != nil {
			t.Fatal(err)
		}
		if node.Options().Addr != c.Addrs()[0] {
			break
		}
	}
	tests := map[string]struct {
		triggerType string
		metadata    map[string]string
		code        codes.Code
		message     string
	}{
		"a cluster taken for a server": {"redis", map[string]string{"address": c.Addrs()[0], "listName": key}, codes.FailedPrecondition,
			"is a cluster: use the trigger type with -cluster"},
		"a server taken for a cluster": {"redis-cluster", map[string]string{"address": one.Addr(), "listName": key}, codes.FailedPrecondition,
			"is not a cluster: use the trigger type without -cluster"},
		"Sentinels that do not know the master": {"redis-sentinel",
			map[string]string{"addresses": list(s.Addrs()), "sentinelMaster": "nobody", "listName": key}, codes.Unavailable,
			"no Sentinel answers, or none knows sentinelMaster"},
		"a database that is not there": {"redis", map[string]string{"address": one.Addr(), "listName": key, "databaseIndex": "99"}, codes.InvalidArgument,
			"databaseIndex: the server has no such database"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := family.Observe(t.Context(), tt.triggerType, tt.metadata)
			if status.Code(err) != tt.code || !strings.HasSuffix(status.Convert(err).Message(), tt.message) {
				t.Errorf("error = %v, want %v %q", err, tt.code, tt.message)
			}
		})
	}
}
