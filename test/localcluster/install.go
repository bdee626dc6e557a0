package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Installation is what Cluster.Install runs as processes.
type Installation struct {
	// Overlay is the folder of a kustomization, "deploy/overlays/all" for
	// example; relative to the repository.
	Overlay string
	// Objects are used in place of Overlay when there are any.
	Objects []*unstructured.Unstructured
	// Replicas of Deployments by component ("scaler-kafka"), in place of
	// those of the manifests.
	Replicas map[string]int32
	// Args are added to those of the manifests, by component.
	Args map[string][]string
	// Env has variables by component; they count before those of the manifests.
	Env map[string][]corev1.EnvVar
}

// Install applies manifests and waits until what they describe is ready: every
// Deployment's instances, and every APIService. Pods of its Deployments run as
// processes, with the binary of the image's name. It may be called again, with
// other manifests or with the same ones after a new build.
func (c *Cluster) Install(ctx context.Context, what Installation) error {
	objects, deployments, err := c.begin(ctx, what)
	if err != nil {
		return err
	}
	for _, deployment := range deployments {
		if err := c.waitDeployment(ctx, deployment); err != nil {
			return err
		}
	}
	for _, object := range objects {
		if object.GetKind() != "APIService" {
			continue
		}
		if err := c.waitCondition(ctx, object, "Available"); err != nil {
			return err
		}
	}
	return nil
}

// Begin is Install without waiting: for what cannot be ready yet.
func (c *Cluster) Begin(ctx context.Context, what Installation) error {
	_, _, err := c.begin(ctx, what)
	return err
}

// Processes returns the objects of an installation as Install would apply them,
// for an installer of another kind.
func (c *Cluster) Processes(ctx context.Context, what Installation) ([]*unstructured.Unstructured, error) {
	objects, _, err := c.prepareInstallation(ctx, what)
	return objects, err
}

func (c *Cluster) begin(ctx context.Context, what Installation) ([]*unstructured.Unstructured, []*appsv1.Deployment, error) {
	objects, deployments, err := c.prepareInstallation(ctx, what)
	if err != nil {
		return nil, nil, err
	}
	return objects, deployments, c.Apply(ctx, objects...)
}

// prepareInstallation renders the manifests and makes our node's Pods of their
// Deployments.
func (c *Cluster) prepareInstallation(ctx context.Context, what Installation) (all []*unstructured.Unstructured, deployments []*appsv1.Deployment, err error) {
	source := what.Objects
	if len(source) == 0 {
		if source, err = c.Render(ctx, what.Overlay); err != nil {
			return nil, nil, err
		}
	}
	mapping := newPortMapping()
	for _, object := range source {
		object = object.DeepCopy()
		all = append(all, object)
		if object.GetKind() != "Deployment" {
			continue
		}
		deployment, err := c.makeProcesses(object, what, mapping)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", describe(object), err)
		}
		deployments = append(deployments, deployment)
	}
	if !c.Isolated() {
		mapping.rewrite(all)
	}
	return all, deployments, nil
}

// makeProcesses binds a Deployment's Pods to our node, without asking the
// scheduler.
func (c *Cluster) makeProcesses(object *unstructured.Unstructured, what Installation, mapping *portMapping) (*appsv1.Deployment, error) {
	deployment := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, deployment); err != nil {
		return nil, err
	}
	template := &deployment.Spec.Template
	if len(template.Spec.Containers) != 1 {
		return nil, errors.New("a Pod of one container is expected")
	}
	container := &template.Spec.Containers[0]
	name := component(container.Image)
	build, err := os.Stat(filepath.Join(c.options.BinDir, name))
	if err != nil {
		return nil, fmt.Errorf("%s is not built: run make build", filepath.Join(c.options.BinDir, name))
	}
	if replicas, given := what.Replicas[name]; given {
		deployment.Spec.Replicas = &replicas
	}
	container.Args = append(container.Args, what.Args[name]...)
	container.Env = withEnv(container.Env, what.Env[name])
	template.Spec.NodeName = processNode
	if template.Annotations == nil {
		template.Annotations = map[string]string{}
	}
	// A new build is a new template, and so is rolled out.
	template.Annotations["sluice.dev/build"] = strconv.FormatInt(build.ModTime().UnixNano(), 10)
	if !c.Isolated() {
		if err := mapping.assign(deployment); err != nil {
			return nil, err
		}
	}
	object.Object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(deployment)
	unstructured.RemoveNestedField(object.Object, "status")
	return deployment, err
}

// withEnv has each variable once, as the API server wants it.
func withEnv(of, given []corev1.EnvVar) []corev1.EnvVar {
	of = slices.DeleteFunc(of, func(v corev1.EnvVar) bool {
		return slices.ContainsFunc(given, func(g corev1.EnvVar) bool { return g.Name == v.Name })
	})
	return append(of, given...)
}

// waitDeployment waits until a Deployment runs its present template, all of
// it, ready. When it does not, the error tells what each instance says.
func (c *Cluster) waitDeployment(ctx context.Context, wanted *appsv1.Deployment) error {
	live := &appsv1.Deployment{}
	err := waitFor(ctx, fmt.Sprintf("Deployment %s/%s", wanted.Namespace, wanted.Name), func(ctx context.Context) (bool, error) {
		if err := c.client.Get(ctx, client.ObjectKeyFromObject(wanted), live); err != nil {
			return false, err
		}
		replicas := int32(1)
		if live.Spec.Replicas != nil {
			replicas = *live.Spec.Replicas
		}
		status := live.Status
		done := status.ObservedGeneration == live.Generation && status.UpdatedReplicas == replicas &&
			status.Replicas == replicas && status.ReadyReplicas == replicas
		return done, fmt.Errorf("%d of %d ready%s", status.ReadyReplicas, replicas, failureOf(live))
	})
	if err == nil {
		return nil
	}
	return errors.Join(err, c.complaints(component(wanted.Spec.Template.Spec.Containers[0].Image)))
}

// failureOf is why no Pods are made: a ServiceAccount is missing, or Pod
// security refuses the template.
func failureOf(deployment *appsv1.Deployment) string {
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			return ": " + condition.Message
		}
	}
	return ""
}

// complaints tells what the instances of a component that are not ready say.
func (c *Cluster) complaints(name string) error {
	var found []error
	for _, instance := range c.Instances(name) {
		if instance.Ready() {
			continue
		}
		found = append(found, fmt.Errorf("%s: not ready: %s\n%s", instance.Name(), instance.Problem(), indent(instance.LogTail(15))))
	}
	return errors.Join(found...)
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// WaitInstances waits until a component has exactly count instances and all
// are ready, and returns them.
func (c *Cluster) WaitInstances(ctx context.Context, name string, count int) ([]*Instance, error) {
	for {
		found, changed := c.kubelet.list(name)
		ready := 0
		for _, instance := range found {
			if instance.Ready() {
				ready++
			}
		}
		if ready == count && len(found) == count {
			return found, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%s: %d of %d instances ready, %d wanted: %w", name, ready, len(found), count, ctx.Err()), c.complaints(name))
		}
	}
}
