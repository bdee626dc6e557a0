// Package attacks does to a running installation what its enemies would: those
// who may edit one namespace, servers that lie, and Pods without any identity.
// The processes are those of the manifests, with their memory limits. Whatever
// is done, nobody else's object waits longer than a busy machine explains, no
// process ends, none needs more memory than it may have, and nothing secret
// gets to where an enemy could read it.
package attacks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// patience is many times what anything here takes.
const patience = 2 * time.Minute

// marked is part of everything that is secret. Nothing that a tenant or a
// server of theirs gets to see may have it.
const marked = "m4rked"

// world is what all attacks share.
var world struct {
	cluster *localcluster.Cluster
	// tenant may edit the namespaces of enemies and nothing else.
	tenant client.Client
	// redis is the server of those who do nothing wrong.
	redis *servers.RedisServer
	// metadata is where a cloud would give identities away.
	metadata *server
	// servers are all that enemies have run.
	servers roll
}

func TestMain(m *testing.M) {
	if err := localcluster.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "attacks: enter a network of our own:", err)
		os.Exit(1)
	}
	code := 1
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "attacks:", err)
	} else {
		code = m.Run()
		if err := errors.Join(checkProcesses(), checkSecrets()); err != nil {
			fmt.Fprintln(os.Stderr, "attacks:", err)
			code = 1
		}
	}
	if err := tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "attacks:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cluster, err := localcluster.Start(ctx, localcluster.Options{LimitMemory: true, Keep: os.Getenv("KEEP") != ""})
	if err != nil {
		return err
	}
	world.cluster = cluster
	if !cluster.Isolated() {
		return errors.New("the cluster has no network of its own, in which nothing of this machine can be attacked")
	}
	if world.redis, err = servers.StartRedis(ctx, servers.RedisOptions{Address: cluster.Address(), Password: marked + "-redis"}); err != nil {
		return err
	}
	if world.metadata, err = startMetadata(); err != nil {
		return err
	}
	if world.tenant, err = newTenant(); err != nil {
		return err
	}
	objects, err := cluster.Render(ctx, "deploy/overlays/all")
	if err != nil {
		return err
	}
	if err := cluster.Client().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shared}}); err != nil {
		return err
	}
	return cluster.Install(ctx, localcluster.Installation{Objects: aroundAdmission(objects), Env: identities()})
}

// aroundAdmission keeps the admission webhooks from namespaces with a label:
// they let everything through while they do not answer, so that what they refuse
// has to be borne as well.
func aroundAdmission(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	for _, o := range objects {
		webhooks, found, _ := unstructured.NestedSlice(o.Object, "webhooks")
		if !found {
			continue
		}
		for _, w := range webhooks {
			w.(map[string]any)["namespaceSelector"] = map[string]any{"matchExpressions": []any{
				map[string]any{"key": unadmitted, "operator": "DoesNotExist"},
			}}
		}
		_ = unstructured.SetNestedSlice(o.Object, webhooks, "webhooks") // a map, as was just found
	}
	return objects
}

// shared is the namespace of what the cluster's owner gives to all.
const shared = "keda"

// unadmitted is the label of namespaces in which no webhook is asked.
const unadmitted = "attacks.sluice.dev/unadmitted"

func tearDown() error {
	var errs []error
	if world.metadata != nil {
		world.metadata.close()
	}
	if world.redis != nil {
		errs = append(errs, world.redis.Close())
	}
	if world.cluster != nil {
		errs = append(errs, world.cluster.Stop())
	}
	return errors.Join(errs...)
}
