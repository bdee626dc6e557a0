package why

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// mostReason is how long the reason of a pause may be, in bytes.
const mostReason = 1 << 10

// fieldManager is who changes annotations.
const fieldManager = "kubectl-sluice"

// pauses are all annotations that a pause consists of.
var pauses = []string{
	v1alpha1.AnnotationPaused, v1alpha1.AnnotationPausedReplicas, v1alpha1.AnnotationPausedScaleIn, v1alpha1.AnnotationPausedScaleOut,
	v1alpha1.AnnotationPauseReason,
}

// Pause stops the scaling of an object. What it has stays.
func (c *Cluster) Pause(ctx context.Context, of Object, reason string) error {
	return c.pause(ctx, of, reason, v1alpha1.AnnotationPaused, "true", v1alpha1.AnnotationPausedReplicas)
}

// Pin stops the scaling of a ScaledObject at a number of replicas.
func (c *Cluster) Pin(ctx context.Context, of Object, replicas int32, reason string) error {
	switch {
	case of.Jobs():
		return fmt.Errorf("%s has no replicas that could be pinned: kubectl sluice pause stops it, and maxReplicaCount bounds its Jobs", of)
	case replicas < 0:
		return fmt.Errorf("%d is no number of replicas", replicas)
	}
	return c.pause(ctx, of, reason, v1alpha1.AnnotationPausedReplicas, strconv.Itoa(int(replicas)), v1alpha1.AnnotationPaused)
}

// pause sets one annotation, and takes the other away.
func (c *Cluster) pause(ctx context.Context, of Object, reason, set, value, remove string) error {
	annotations := map[string]any{set: value, remove: nil, v1alpha1.AnnotationPauseReason: nil}
	if reason = strings.TrimSpace(reason); reason != "" {
		annotations[v1alpha1.AnnotationPauseReason] = reason
	}
	if err := checkReason(reason); err != nil {
		return err
	}
	return c.annotate(ctx, of, annotations, "")
}

func checkReason(reason string) error {
	switch {
	case len(reason) > mostReason:
		return fmt.Errorf("--reason: it has %d bytes of the %d that it may", len(reason), mostReason)
	case strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("--reason: it is to be one line of what can be printed")
	}
	return nil
}

// Resume takes all pauses off an object, and returns which there were.
func (c *Cluster) Resume(ctx context.Context, of Object) (were []string, err error) {
	found, err := c.Objects.Resource(of.resource()).Namespace(of.Namespace).Get(ctx, of.Name, metav1.GetOptions{})
	if err != nil {
		return nil, c.Missing(ctx, of, err)
	}
	annotations := map[string]any{}
	for _, name := range pauses {
		if value, is := found.GetAnnotations()[name]; is {
			annotations[name] = nil
			were = append(were, name+": "+value)
		}
	}
	if len(annotations) == 0 {
		return nil, nil
	}
	return were, c.annotate(ctx, of, annotations, found.GetResourceVersion())
}

// annotate changes annotations, nil takes one away. With a version nothing else may
// have changed since.
func (c *Cluster) annotate(ctx context.Context, of Object, annotations map[string]any, version string) error {
	metadata := map[string]any{"annotations": annotations}
	if version != "" {
		metadata["resourceVersion"] = version
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	_, err = c.Objects.Resource(of.resource()).Namespace(of.Namespace).
		Patch(ctx, of.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return c.Missing(ctx, of, err)
}

// Missing says what there is where an object is not, as far as the user may see it.
func (c *Cluster) Missing(ctx context.Context, of Object, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) && (status.Status().Details == nil || status.Status().Details.Name == "") {
		return fmt.Errorf("this cluster has no %s.keda.sh: it has neither Sluice nor KEDA", of.resource().Resource)
	}
	text := "there is no " + of.String()
	list, failed := c.Objects.Resource(of.resource()).Namespace(of.Namespace).List(ctx, metav1.ListOptions{Limit: mostNames})
	if failed != nil {
		return errors.New(text)
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].GetName())
	}
	near := scalerv1.Nearest(of.Name, names)
	switch {
	case near != "":
		return fmt.Errorf("%s, did you mean %s?", text, Object{of.Kind, of.Namespace, near}.short())
	case len(names) == 0:
		return fmt.Errorf("%s: namespace %s has none; -n names another", text, of.Namespace)
	}
	return errors.New(text)
}

// mostNames are looked at for one that was meant.
const mostNames = 500
