package localcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// FieldManager is who the API server is told applied our manifests.
const FieldManager = "sluice-local-cluster"

// Render returns the objects of a kustomization, in the order in which they
// can be applied: namespaces and CRDs first, webhooks last. dir is relative to
// the repository, or absolute.
func (c *Cluster) Render(ctx context.Context, dir string) ([]*unstructured.Unstructured, error) {
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(c.options.Repo, dir)
	}
	var messages bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Kubectl(), "kustomize", dir)
	cmd.Stderr = &messages
	rendered, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kustomize %s: %w: %s", dir, err, messages.String())
	}
	return Decode(rendered)
}

// Decode reads the objects of a stream of YAML documents.
func Decode(manifests []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("manifest %d: %w", len(objects)+1, err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// ApplyYAML applies manifests as `kubectl apply --server-side` would. Workloads
// among them get Pods that kwok plays.
func (c *Cluster) ApplyYAML(ctx context.Context, manifests string) error {
	objects, err := Decode([]byte(manifests))
	if err != nil {
		return err
	}
	return c.Apply(ctx, objects...)
}

// Apply is ApplyYAML for decoded objects. A kind that the server does not know
// yet is waited for, and so is every CRD before the next object is applied.
func (c *Cluster) Apply(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for _, object := range objects {
		if err := c.applyOne(ctx, object); err != nil {
			return fmt.Errorf("apply %s: %w", describe(object), err)
		}
	}
	return nil
}

func (c *Cluster) applyOne(ctx context.Context, object *unstructured.Unstructured) error {
	var err error
	unknown := waitFor(ctx, "its kind", func(ctx context.Context) (bool, error) {
		desired := client.ApplyConfigurationFromUnstructured(object.DeepCopy())
		err = c.client.Apply(ctx, desired, client.FieldOwner(FieldManager), client.ForceOwnership)
		return !meta.IsNoMatchError(err), err
	})
	if unknown != nil {
		return unknown
	}
	if err != nil || object.GetKind() != "CustomResourceDefinition" {
		return err
	}
	return c.waitCondition(ctx, object, "Established")
}

// Delete removes the objects of manifests; those that are gone already are no
// error.
func (c *Cluster) Delete(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for _, object := range objects {
		err := c.client.Delete(ctx, object.DeepCopy(), client.PropagationPolicy("Background"))
		if err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			return fmt.Errorf("delete %s: %w", describe(object), err)
		}
	}
	return nil
}

// waitCondition waits until a condition of an object is True.
func (c *Cluster) waitCondition(ctx context.Context, object *unstructured.Unstructured, kind string) error {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(object.GroupVersionKind())
	return waitFor(ctx, describe(object)+" to be "+kind, func(ctx context.Context) (bool, error) {
		if err := c.client.Get(ctx, client.ObjectKeyFromObject(object), live); err != nil {
			return false, err
		}
		conditions, _, err := unstructured.NestedSlice(live.Object, "status", "conditions")
		if err != nil {
			return false, err
		}
		for _, entry := range conditions {
			condition, _ := entry.(map[string]any)
			if condition["type"] == kind {
				return condition["status"] == "True", fmt.Errorf("%v: %v", condition["reason"], condition["message"])
			}
		}
		return false, nil
	})
}

func describe(object *unstructured.Unstructured) string {
	name := object.GetName()
	if namespace := object.GetNamespace(); namespace != "" {
		name = namespace + "/" + name
	}
	return object.GetKind() + " " + name
}
