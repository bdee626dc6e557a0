package admission

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	admissionv1 "k8s.io/api/admission/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

// other is another ScaledObject of the namespace.
func other(name string, change ...func(*v1alpha1.ScaledObject)) *v1alpha1.ScaledObject {
	so := scaledObject(change...)
	so.Name = name
	return so
}

func targetOf(apiVersion, kind, name string) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Spec.ScaleTargetRef = v1alpha1.ScaleTarget{APIVersion: apiVersion, Kind: kind, Name: name}
	}
}

func hpaName(name string) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{HorizontalPodAutoscalerConfig: &v1alpha1.HorizontalPodAutoscalerConfig{Name: name}}
	}
}

func transfer(so *v1alpha1.ScaledObject) {
	so.Annotations = map[string]string{v1alpha1.AnnotationTransferHPAOwnership: "true"}
}

func deleted(o client.Object) client.Object {
	now := metav1.Now()
	o.SetDeletionTimestamp(&now)
	o.SetFinalizers([]string{v1alpha1.Finalizer})
	return o
}

// hpa scales a Deployment.
func hpa(name, target string, change ...func(*autoscalingv2.HorizontalPodAutoscaler)) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: target},
		},
	}
	for _, c := range change {
		c(h)
	}
	return h
}

func bounds(idle, lo, hi *int32) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Spec.IdleReplicaCount, so.Spec.MinReplicaCount, so.Spec.MaxReplicaCount = idle, lo, hi
	}
}

func modifiers(m v1alpha1.ScalingModifiers, ts ...v1alpha1.ScaleTrigger) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &m}
		so.Spec.Triggers = ts
	}
}

func named(name string, t v1alpha1.ScaleTrigger) v1alpha1.ScaleTrigger {
	t.Name = name
	return t
}

func cached(t v1alpha1.ScaleTrigger) v1alpha1.ScaleTrigger {
	t.UseCachedMetrics = true
	return t
}

func requests(request, limit string) corev1.ResourceRequirements {
	r := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	if request != "" {
		r.Requests[corev1.ResourceCPU] = resource.MustParse(request)
	}
	if limit != "" {
		r.Limits[corev1.ResourceCPU] = resource.MustParse(limit)
	}
	return r
}

// row is one line of the rules: what is asked, with what in the namespace.
type row struct {
	object   *v1alpha1.ScaledObject
	known    []client.Object
	change   func(*admissionv1.AdmissionRequest)
	refusals []string
	warnings []string
}

func check(t *testing.T, rows map[string]row) {
	t.Helper()
	for name, tt := range rows {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tt.known...)
			if tt.change == nil {
				tt.change = func(*admissionv1.AdmissionRequest) {}
			}
			f.want(f.ask(pathScaledObject, tt.object, nil, tt.change), tt.refusals, tt.warnings)
		})
	}
}

func TestUnusedSettings(t *testing.T) {
	const (
		polling  = "pollingInterval: has no effect with minReplicaCount 1, without idleReplicaCount and without a trigger that has useCachedMetrics"
		cooldown = "cooldownPeriod: has no effect with minReplicaCount 1 and without idleReplicaCount"
	)
	intervals := func(so *v1alpha1.ScaledObject) {
		so.Spec.PollingInterval, so.Spec.CooldownPeriod = ptr.To[int32](10), ptr.To[int32](60)
	}
	check(t, map[string]row{
		"S1 and S2 with min 1":         {object: scaledObject(intervals, bounds(nil, ptr.To[int32](1), nil)), warnings: []string{polling, cooldown}},
		"S1 and S2 with min 0":         {object: scaledObject(intervals)},
		"S1 and S2 with min 1, idle 0": {object: scaledObject(intervals, bounds(ptr.To[int32](0), ptr.To[int32](1), nil))},
		"S1 with useCachedMetrics": {object: scaledObject(intervals, bounds(nil, ptr.To[int32](1), nil), triggers(cached(kafka()))),
			warnings: []string{cooldown}},
	})
}

func TestTargets(t *testing.T) {
	check(t, map[string]row{
		"S3 apiVersion that does not parse": {object: scaledObject(targetOf("a/b/c", "Deployment", "worker")),
			refusals: []string{`scaleTargetRef: apiVersion: "a/b/c" is not a group and version`}},
		"S3 unknown kind": {object: scaledObject(targetOf("example.com/v1", "Widget", "worker")),
			refusals: []string{"scaleTargetRef: kind: example.com/v1 Widget is not known to this cluster"}},
		"S3 known kind":               {object: scaledObject(targetOf(rollout.GroupVersion().String(), rollout.Kind, "worker"))},
		"S3 a target that is not yet": {object: scaledObject()},
		"a kind in another case":      {object: scaledObject(targetOf("argoproj.io/v1alpha1", "rollout", "worker"))},
		"a plural":                    {object: scaledObject(targetOf("argoproj.io/v1alpha1", "rollouts", "worker"))},
		"a kind without a scale": {object: scaledObject(targetOf("apps/v1", "DaemonSet", "worker")),
			warnings: []string{"scaleTargetRef: apps/v1.DaemonSet has no scale subresource"}},
		"a Job": {object: scaledObject(targetOf("batch/v1", "Job", "worker")),
			warnings: []string{"scaleTargetRef: batch/v1.Job cannot be scaled: use a ScaledJob"}},
		"a kind that the controller may not scale": {
			object: scaledObject(targetOf("argoproj.io/v1alpha1", "rollout", "worker"), func(so *v1alpha1.ScaledObject) { so.Namespace = "forbidden" }),
			warnings: []string{"scaleTargetRef: the controller may not get and update rollouts.argoproj.io/scale: kubectl create clusterrole sluice-rollouts-argoproj-io --verb=get,list,watch,update --resource=rollouts.argoproj.io,rollouts.argoproj.io/scale" +
				" && kubectl label clusterrole sluice-rollouts-argoproj-io sluice.dev/aggregate-to-controller=true"}},
	})
}

func TestOtherObjects(t *testing.T) {
	const same = `scaleTargetRef: Deployment "worker" is already scaled by ScaledObject "other"`
	check(t, map[string]row{
		"S4 same target":                      {object: scaledObject(), known: []client.Object{other("other")}, refusals: []string{same}},
		"S4 same target, defaults written":    {object: scaledObject(), known: []client.Object{other("other", targetOf("apps/v1", "Deployment", "worker"))}, refusals: []string{same}},
		"S4 same target, spelt differently":   {object: scaledObject(targetOf("apps/v1", "deployments", "worker")), known: []client.Object{other("other", targetOf("apps/v1", "DEPLOYMENT", "worker"))}, refusals: []string{same}},
		"S4 other kind, same name":            {object: scaledObject(), known: []client.Object{other("other", targetOf("apps/v1", "StatefulSet", "worker"))}},
		"S4 other kind that nobody knows":     {object: scaledObject(), known: []client.Object{other("other", targetOf("example.com/v1", "Widget", "worker"))}},
		"S4 other apiVersion that is none":    {object: scaledObject(), known: []client.Object{other("other", targetOf("a/b/c", "Deployment", "worker"))}},
		"S4 other target":                     {object: scaledObject(), known: []client.Object{other("other", targetOf("", "", "api"))}},
		"S4 itself":                           {object: scaledObject(), known: []client.Object{scaledObject()}},
		"S4 other that is being deleted":      {object: scaledObject(), known: []client.Object{deleted(other("other"))}},
		"S5 same HPA name, both given":        {object: scaledObject(hpaName("mine")), known: []client.Object{other("other", targetOf("", "", "api"), hpaName("mine"))}, refusals: []string{`the HPA's name "mine" is already that of ScaledObject "other"`}},
		"S5 a given name that is a default":   {object: scaledObject(hpaName("keda-hpa-other")), known: []client.Object{other("other", targetOf("", "", "api"))}, refusals: []string{`the HPA's name "keda-hpa-other" is already that of ScaledObject "other"`}},
		"S5 other HPA names":                  {object: scaledObject(hpaName("mine")), known: []client.Object{other("other", targetOf("", "", "api"))}},
		"S4 another namespace's is no matter": {object: scaledObject(), known: []client.Object{func() client.Object { o := other("other"); o.Namespace = "elsewhere"; return o }()}},
	})
}

func TestModifiers(t *testing.T) {
	a, b := named("a", kafka()), named("b", kafka())
	good := v1alpha1.ScalingModifiers{Formula: "a + b", Target: "2.5"}
	with := func(change func(*v1alpha1.ScalingModifiers)) v1alpha1.ScalingModifiers {
		m := good
		change(&m)
		return m
	}
	fallback := func(so *v1alpha1.ScaledObject) {
		so.Spec.Fallback = &v1alpha1.Fallback{Replicas: 1, Behavior: v1alpha1.FallbackScalingModifiers}
	}
	check(t, map[string]row{
		"S6 valid":                    {object: scaledObject(modifiers(good, a, b))},
		"S6 valid with ??":            {object: scaledObject(modifiers(with(func(m *v1alpha1.ScalingModifiers) { m.Formula = "a ?? b ?? 7" }), a, b))},
		"S6 formula missing":          {object: scaledObject(modifiers(v1alpha1.ScalingModifiers{Target: "1"}, a, b)), refusals: []string{"scalingModifiers.formula: missing"}},
		"S6 target missing":           {object: scaledObject(modifiers(v1alpha1.ScalingModifiers{Formula: "a"}, a)), refusals: []string{"scalingModifiers.target: missing"}},
		"S6 target of zero":           {object: scaledObject(modifiers(with(func(m *v1alpha1.ScalingModifiers) { m.Target = "0" }), a, b)), refusals: []string{`scalingModifiers.target: "0" is not a number greater than 0`}},
		"S6 target that is no number": {object: scaledObject(modifiers(with(func(m *v1alpha1.ScalingModifiers) { m.Target = "two" }), a, b)), refusals: []string{`scalingModifiers.target: "two" is not a number greater than 0`}},
		"S6 formula does not compile": {object: scaledObject(modifiers(with(func(m *v1alpha1.ScalingModifiers) { m.Formula = "a +" }), a, b)), refusals: []string{"scalingModifiers.formula: unexpected token EOF (1:3)"}},
		"S6 formula that never works": {object: scaledObject(modifiers(with(func(m *v1alpha1.ScalingModifiers) { m.Formula = "true" }), a, b)), refusals: []string{"scalingModifiers.formula: the result is bool, not a number"}},
		"S6 unnamed trigger":          {object: scaledObject(modifiers(good, a, kafka())), refusals: []string{"scalingModifiers.formula: unknown name b (1:5)"}},
		"S6 cpu trigger":              {object: scaledObject(modifiers(good, a, named("b", resourceTrigger("cpu"))), targetOf("", "ReplicaSet", "worker")), refusals: []string{"scalingModifiers.formula: unknown name b (1:5): trigger 1 (cpu) has no value in a formula, the HPA reads it by itself"}},
		"a name with a hyphen": {object: scaledObject(modifiers(with(func(m *v1alpha1.ScalingModifiers) { m.Formula = "a + my-queue" }), a, named("my-queue", kafka()))),
			refusals: []string{`scalingModifiers.formula: unknown name my (1:5): the name "my-queue" of trigger 1 cannot stand in a formula, where a name has letters, digits and _`}},
		"S6 Utilization":                {object: scaledObject(modifiers(with(func(m *v1alpha1.ScalingModifiers) { m.MetricType = "Utilization" }), a, b)), refusals: []string{"scalingModifiers.metricType: Utilization is not possible for a computed metric"}},
		"S6 activationTarget (note 6)":  {object: scaledObject(modifiers(with(func(m *v1alpha1.ScalingModifiers) { m.ActivationTarget = "x" }), a, b)), refusals: []string{`scalingModifiers.activationTarget: "x" is not a number`}},
		"S7 behavior without modifiers": {object: scaledObject(fallback), refusals: []string{"fallback.behavior: scalingModifiers needs advanced.scalingModifiers.formula"}},
		"S7 behavior with a formula":    {object: scaledObject(modifiers(good, a, b), fallback)},
	})
}

func TestOtherHPAs(t *testing.T) {
	const taken = `scaleTargetRef: Deployment "worker" is already scaled by HPA "mine": delete it, or hand it over with annotation scaledobject.keda.sh/transfer-hpa-ownership: "true" and advanced.horizontalPodAutoscalerConfig.name: mine`
	const unnamed = `advanced.horizontalPodAutoscalerConfig.name: must be "mine", the HPA to hand over, with annotation scaledobject.keda.sh/transfer-hpa-ownership`
	type H = *autoscalingv2.HorizontalPodAutoscaler
	owned := func(kind, name string) func(H) {
		return func(h H) { h.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name}} }
	}
	check(t, map[string]row{
		"H1 its own":                          {object: scaledObject(), known: []client.Object{hpa("mine", "worker", owned("ScaledObject", "orders"))}},
		"H1 of another ScaledObject":          {object: scaledObject(), known: []client.Object{other("other", targetOf("", "", "api")), hpa("mine", "worker", owned("ScaledObject", "other"))}, refusals: []string{taken}},
		"H1 of one that is being deleted":     {object: scaledObject(), known: []client.Object{deleted(other("other")), hpa("mine", "worker", owned("ScaledObject", "other"))}},
		"H1 of one that is gone":              {object: scaledObject(), known: []client.Object{hpa("mine", "worker", owned("ScaledObject", "other"))}},
		"H1 of another kind of the same name": {object: scaledObject(), known: []client.Object{hpa("mine", "worker", owned("Team", "orders"))}, refusals: []string{taken}},
		"H2 handed over by name":              {object: scaledObject(transfer, hpaName("mine")), known: []client.Object{hpa("mine", "worker")}},
		"H3 handed over without a name":       {object: scaledObject(transfer), known: []client.Object{hpa("mine", "worker")}, refusals: []string{unnamed}},
		"H3 handed over by another name":      {object: scaledObject(transfer, hpaName("yours")), known: []client.Object{hpa("mine", "worker")}, refusals: []string{unnamed}},
		"H4 not owned":                        {object: scaledObject(), known: []client.Object{hpa("mine", "worker")}, refusals: []string{taken}},
		"H4 opted out":                        {object: scaledObject(), known: []client.Object{hpa("mine", "worker", func(h H) { h.Annotations = map[string]string{v1alpha1.AnnotationHPAOwnership: "false"} })}},
		"H4 opt-out of another value":         {object: scaledObject(), known: []client.Object{hpa("mine", "worker", func(h H) { h.Annotations = map[string]string{v1alpha1.AnnotationHPAOwnership: "true"} })}, refusals: []string{taken}},
		"H4 being deleted":                    {object: scaledObject(), known: []client.Object{deleted(hpa("mine", "worker"))}},
		"H4 another target":                   {object: scaledObject(), known: []client.Object{hpa("mine", "api")}},
		"H4 another version":                  {object: scaledObject(), known: []client.Object{hpa("mine", "worker", func(h H) { h.Spec.ScaleTargetRef.APIVersion = "apps/v1beta1" })}, refusals: []string{taken}},
		"H4 another spelling":                 {object: scaledObject(), known: []client.Object{hpa("mine", "worker", func(h H) { h.Spec.ScaleTargetRef.Kind = "deployments" })}, refusals: []string{taken}},
		"H1 of one that is refused already": {object: scaledObject(), known: []client.Object{other("other"), hpa("mine", "worker", owned("ScaledObject", "other"))},
			refusals: []string{`scaleTargetRef: Deployment "worker" is already scaled by ScaledObject "other"`}},
		"H5 a kind that is none is not ours":   {object: scaledObject(), known: []client.Object{hpa("mine", "worker", func(h H) { h.Spec.ScaleTargetRef.APIVersion = "a/b/c" })}},
		"H2 and H4 with two HPAs, both told":   {object: scaledObject(), known: []client.Object{hpa("mine", "worker"), hpa("more", "worker")}, refusals: []string{taken, strings.ReplaceAll(taken, "mine", "more")}},
		"H4 of another namespace is no matter": {object: scaledObject(), known: []client.Object{hpa("mine", "worker", func(h H) { h.Namespace = "elsewhere" })}},
	})
}

func TestResources(t *testing.T) {
	ranges := func(t corev1.LimitType, change func(*corev1.LimitRangeItem)) client.Object {
		r := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "defaults"}}
		item := corev1.LimitRangeItem{Type: t}
		change(&item)
		r.Spec.Limits = []corev1.LimitRangeItem{item}
		return r
	}
	cpu := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	one := bounds(nil, ptr.To[int32](1), nil)
	lacks := func(index, container string) string {
		return "trigger " + index + ` (cpu): container "` + container + `" of Deployment "worker" has neither a request nor a limit for cpu, and no LimitRange of the namespace gives one`
	}
	onCPU := triggers(resourceTrigger("cpu"))
	const toZero = "minReplicaCount: cpu and memory alone cannot scale from zero, at least 1 is needed"
	check(t, map[string]row{
		"C1 another kind is spared, C4 too (note 7)": {object: scaledObject(onCPU, targetOf(rollout.GroupVersion().String(), rollout.Kind, "worker"))},
		"C3 a kind in another case":                  {object: scaledObject(onCPU, one, targetOf("", "deployment", "worker")), known: []client.Object{deployment("worker", requests("", ""))}, refusals: []string{lacks("0", "app-0")}},
		"C1 a ReplicaSet is spared":                  {object: scaledObject(onCPU, targetOf("apps/v1", "ReplicaSet", "worker"))},
		"C3 a request":                               {object: scaledObject(onCPU, one), known: []client.Object{deployment("worker", requests("1", ""))}},
		"C3 only a limit":                            {object: scaledObject(onCPU, one), known: []client.Object{deployment("worker", requests("", "1"))}},
		"C3 nothing":                                 {object: scaledObject(onCPU, one), known: []client.Object{deployment("worker", requests("", ""))}, refusals: []string{lacks("0", "app-0")}},
		"C3 a request of zero":                       {object: scaledObject(onCPU, one), known: []client.Object{deployment("worker", requests("0", ""))}, refusals: []string{lacks("0", "app-0")}},
		"C3 every container that lacks one":          {object: scaledObject(onCPU, one), known: []client.Object{deployment("worker", requests("1", ""), requests("", ""), requests("", ""))}, refusals: []string{lacks("0", "app-1"), lacks("0", "app-2")}},
		"C3 the named container":                     {object: scaledObject(triggers(resourceTrigger("cpu", "containerName", "app-1")), one), known: []client.Object{deployment("worker", requests("", ""), requests("1", ""))}},
		"C3 the named container that lacks one":      {object: scaledObject(triggers(kafka(), resourceTrigger("cpu", "containerName", "app-1"))), known: []client.Object{deployment("worker", requests("1", ""), requests("", ""))}, refusals: []string{lacks("1", "app-1")}},
		"C3 a container that is not there (note 8)":  {object: scaledObject(triggers(resourceTrigger("cpu", "containerName", "sidecar")), one), known: []client.Object{deployment("worker", requests("1", ""))}, refusals: []string{`trigger 0 (cpu): containerName: Deployment "worker" has no container "sidecar"`}},
		"C3 default request of a LimitRange":         {object: scaledObject(onCPU, one), known: []client.Object{deployment("worker", requests("", "")), ranges(corev1.LimitTypeContainer, func(i *corev1.LimitRangeItem) { i.DefaultRequest = cpu })}},
		"C3 default limit of a LimitRange":           {object: scaledObject(onCPU, one), known: []client.Object{deployment("worker", requests("", "")), ranges(corev1.LimitTypeContainer, func(i *corev1.LimitRangeItem) { i.Default = cpu })}},
		"C3 a LimitRange for Pods":                   {object: scaledObject(onCPU, one), known: []client.Object{deployment("worker", requests("", "")), ranges(corev1.LimitTypePod, func(i *corev1.LimitRangeItem) { i.Default = cpu })}, refusals: []string{lacks("0", "app-0")}},
		"C4 cpu alone, min unset":                    {object: scaledObject(onCPU), known: []client.Object{deployment("worker", requests("1", ""))}, refusals: []string{toZero}},
		"C4 cpu alone, min 0":                        {object: scaledObject(onCPU, bounds(nil, ptr.To[int32](0), nil)), known: []client.Object{deployment("worker", requests("1", ""))}, refusals: []string{toZero}},
		"C4 cpu and kafka, min 0":                    {object: scaledObject(triggers(resourceTrigger("cpu"), kafka())), known: []client.Object{deployment("worker", requests("1", ""))}},
		"C on a dry run are not applied":             {object: scaledObject(onCPU), change: dryRun},
		"C on a request without dryRun (note 2)":     {object: scaledObject(onCPU), known: []client.Object{deployment("worker", requests("1", ""))}, change: func(r *admissionv1.AdmissionRequest) { r.DryRun = nil }, refusals: []string{toZero}},
	})
}

// TestTargetsThatComeLater creates the target after the question was asked, as
// kubectl apply does with a file that has both.
func TestTargetsThatComeLater(t *testing.T) {
	object := scaledObject(triggers(resourceTrigger("cpu")), bounds(nil, ptr.To[int32](1), nil))
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		answer := make(chan *admissionv1.AdmissionResponse, 1)
		go func() { answer <- f.ask(pathScaledObject, object, nil) }()
		synctest.Wait()
		if err := f.Objects.(client.Client).Create(t.Context(), deployment("worker", requests("", ""))); err != nil {
			t.Fatal(err)
		}
		f.want(<-answer, []string{`trigger 0 (cpu): container "app-0" of Deployment "worker" has neither a request nor a limit for cpu, and no LimitRange of the namespace gives one`}, nil)
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.want(f.ask(pathScaledObject, object, nil), nil,
			[]string{`scaleTargetRef: whether the target's containers request cpu could not be checked: Deployment "worker" does not exist yet`})
	})
}

func TestReplicasFallbackNamesAndTriggers(t *testing.T) {
	i := ptr.To[int32]
	fallback := func(f v1alpha1.Fallback) func(*v1alpha1.ScaledObject) {
		return func(so *v1alpha1.ScaledObject) { so.Spec.Fallback = &f }
	}
	name := func(length int) func(*v1alpha1.ScaledObject) {
		return func(so *v1alpha1.ScaledObject) { so.Name = strings.Repeat("n", length) }
	}
	onCPU := func(so *v1alpha1.ScaledObject) {
		targetOf(rollout.GroupVersion().String(), rollout.Kind, "worker")(so)
		triggers(resourceTrigger("cpu"))(so)
	}
	longHPA := "keda-hpa-" + strings.Repeat("n", 55)
	renamed := func(n, hash string) []string {
		return []string{"metadata.name: has " + n + " characters, so the HPA is called keda-hpa-" + strings.Repeat("n", 43) + "-" + hash +
			"; advanced.horizontalPodAutoscalerConfig.name gives it another name"}
	}
	check(t, map[string]row{
		"R1 min above max":           {object: scaledObject(bounds(nil, i(5), i(3))), refusals: []string{"minReplicaCount: 5 exceeds maxReplicaCount 3"}},
		"R1 min above the default":   {object: scaledObject(bounds(nil, i(101), nil)), refusals: []string{"minReplicaCount: 101 exceeds maxReplicaCount 100"}},
		"R2 idle 0, min 2":           {object: scaledObject(bounds(i(0), i(2), nil))},
		"R2 idle 2, min 2":           {object: scaledObject(bounds(i(2), i(2), nil)), refusals: []string{"idleReplicaCount: 2 is not lower than minReplicaCount 2"}},
		"R2 idle 0, min unset":       {object: scaledObject(bounds(i(0), nil, nil)), refusals: []string{"idleReplicaCount: 0 is not lower than minReplicaCount 0"}},
		"R2 idle 0, min 0":           {object: scaledObject(bounds(i(0), i(0), nil))},
		"F1 negative numbers":        {object: scaledObject(fallback(v1alpha1.Fallback{FailureThreshold: -1, Replicas: -2})), refusals: []string{"fallback.failureThreshold: -1 is negative", "fallback.replicas: -2 is negative"}},
		"F2 cpu only":                {object: scaledObject(onCPU, fallback(v1alpha1.Fallback{Replicas: 1})), refusals: []string{"fallback: needs a trigger other than cpu and memory"}},
		"F2 Value and no metricType": {object: scaledObject(triggers(kafka(), func() v1alpha1.ScaleTrigger { t := kafka(); t.MetricType = "Value"; return t }()), fallback(v1alpha1.Fallback{Replicas: 1}))},
		"N1 63 characters":           {object: scaledObject(name(63), hpaName("mine"))},
		"N1 64 characters":           {object: scaledObject(name(64), hpaName("mine")), refusals: []string{"metadata.name: has 64 characters, of 63 that a label's value may have"}},
		"N2 54 characters":           {object: scaledObject(name(54))},
		"N2 55 characters":           {object: scaledObject(name(55)), warnings: renamed("55", "bd2187ca94")},
		"N2 63 characters":           {object: scaledObject(name(63)), warnings: renamed("63", "2d25d3fe55")},
		"N2 a given name": {object: scaledObject(hpaName(longHPA)),
			refusals: []string{`the HPA's name "` + longHPA + `" has 64 characters, of 63 that a label's value may have: shorten advanced.horizontalPodAutoscalerConfig.name`}},
		"idle 0 that cpu cannot keep from": {
			object:   scaledObject(bounds(i(0), i(1), nil), triggers(kafka(), resourceTrigger("cpu")), targetOf("apps/v1", "ReplicaSet", "worker")),
			warnings: []string{"idleReplicaCount: 0: cpu cannot keep the target up, it goes there when no other trigger is active"},
		},
		"T1 no trigger":               {object: scaledObject(triggers()), refusals: []string{"triggers: none given"}},
		"T2 useCachedMetrics of cron": {object: scaledObject(triggers(cached(v1alpha1.ScaleTrigger{Type: "cron"}))), refusals: []string{"trigger 0 (cron): useCachedMetrics: not supported by this type"}},
		"T2 useCachedMetrics of cpu":  {object: scaledObject(onCPU, triggers(cached(resourceTrigger("cpu")))), refusals: []string{"trigger 0 (cpu): useCachedMetrics: not supported by this type"}},
		"T3 the same name twice":      {object: scaledObject(triggers(named("a", kafka()), named("a", kafka()))), refusals: []string{`trigger 1 (kafka): name: "a" is already the name of trigger 0`}},
		"T3 no names":                 {object: scaledObject(triggers(kafka(), kafka()))},
	})
}

func TestAllViolationsAtOnceInAFixedOrder(t *testing.T) {
	object := scaledObject(bounds(ptr.To[int32](7), ptr.To[int32](5), ptr.To[int32](3)), triggers(cached(v1alpha1.ScaleTrigger{Type: "cron"})),
		func(so *v1alpha1.ScaledObject) {
			so.Name = strings.Repeat("n", 64)
			so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "b"}}
			so.Spec.Fallback = &v1alpha1.Fallback{Replicas: -1}
		})
	for range 3 {
		f := newFixture(t, other("other"), hpa("mine", "worker"))
		f.want(f.ask(pathScaledObject, object, nil), []string{
			`scaleTargetRef: Deployment "worker" is already scaled by ScaledObject "other"`,
			"scalingModifiers.target: missing",
			"scalingModifiers.formula: unknown name b (1:1)",
			`scaleTargetRef: Deployment "worker" is already scaled by HPA "mine": delete it, or hand it over with annotation scaledobject.keda.sh/transfer-hpa-ownership: "true" and advanced.horizontalPodAutoscalerConfig.name: mine`,
			"minReplicaCount: 5 exceeds maxReplicaCount 3",
			"idleReplicaCount: 7 is not lower than minReplicaCount 5",
			"fallback.replicas: -1 is negative",
			"metadata.name: has 64 characters, of 63 that a label's value may have",
			"trigger 0 (cron): useCachedMetrics: not supported by this type",
		}, nil)
		for reason, want := range map[string]float64{
			rules.ReasonOtherScaledObject: 1, rules.ReasonModifiers: 1, rules.ReasonOtherHPA: 1, rules.ReasonReplicas: 1, rules.ReasonFallback: 1,
			rules.ReasonName: 1, rules.ReasonHPAName: 0, rules.ReasonTriggers: 1, rules.ReasonTarget: 0,
		} {
			if have := f.Counts.refusals.Of(namespace, whole{}, namespace, "create", reason); have != want {
				t.Errorf("%s counted %v times, want %v", reason, have, want)
			}
		}
		if have := f.Counts.validations.Of(namespace, whole{}, namespace, "create"); have != 1 {
			t.Errorf("%v validations counted", have)
		}
	}
}

// TestNeverInTheWay asks about objects that break rules and are let through.
func TestNeverInTheWay(t *testing.T) {
	broken := scaledObject(triggers())
	changed := func(change func(*v1alpha1.ScaledObject)) *v1alpha1.ScaledObject {
		so := broken.DeepCopy()
		change(so)
		return so
	}
	withFinalizer := changed(func(so *v1alpha1.ScaledObject) { so.Finalizers = []string{v1alpha1.Finalizer} })
	more := func(so *v1alpha1.ScaledObject) { so.Spec.PollingInterval = ptr.To[int32](9) }
	tests := map[string]struct {
		object, old *v1alpha1.ScaledObject
		change      func(*admissionv1.AdmissionRequest)
		outside     bool
		refused     bool
	}{
		"finalizer removed":                        {object: broken, old: withFinalizer},
		"finalizer added":                          {object: withFinalizer, old: broken},
		"finalizer removed, spec changed":          {object: changed(more), old: withFinalizer, refused: true},
		"label added":                              {object: changed(func(so *v1alpha1.ScaledObject) { so.Labels = map[string]string{"a": "b"} }), old: broken},
		"status changed":                           {object: changed(func(so *v1alpha1.ScaledObject) { so.Status.HpaName = "mine" }), old: broken},
		"spec changed while it is being deleted":   {object: deleted(changed(more)).(*v1alpha1.ScaledObject), old: withFinalizer},
		"deleted":                                  {object: broken, change: func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Delete }},
		"another installation's":                   {object: broken, outside: true},
		"spec changed":                             {object: changed(more), old: broken, refused: true},
		"annotation that decides on an HPA":        {object: changed(transfer), old: broken, refused: true},
		"spec of an object that is good made bad":  {object: broken, old: scaledObject(), refused: true},
		"an absent list for an empty one, no news": {object: broken, old: changed(func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = []v1alpha1.ScaleTrigger{} })},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.Covers = func(client.Object) bool { return !tt.outside }
			if tt.change == nil {
				tt.change = func(*admissionv1.AdmissionRequest) {}
			}
			var old client.Object
			if tt.old != nil {
				old = tt.old
			}
			if answer := f.ask(pathScaledObject, tt.object, old, tt.change); answer.Allowed == tt.refused {
				t.Errorf("allowed %v: %+v", answer.Allowed, answer.Result)
			}
		})
	}
}

// broken fails, or worse, as no cache should.
type broken struct {
	client.Reader
	panics bool
}

func (b broken) List(context.Context, client.ObjectList, ...client.ListOption) error {
	if b.panics {
		panic("index out of range")
	}
	return errors.New("the cache is not started")
}

func TestWhatCannotBeCheckedIsAdmitted(t *testing.T) {
	f := newFixture(t, deployment("worker", requests("1", "")))
	working := f.Objects
	f.Objects = broken{Reader: working}
	f.want(f.ask(pathScaledObject, scaledObject(triggers(resourceTrigger("cpu")), bounds(nil, ptr.To[int32](1), nil)), nil), nil, []string{
		"whether another ScaledObject has the same target or HPA could not be checked: the cache is not started",
		"whether another HPA scales the target could not be checked: the cache is not started",
		"scaleTargetRef: whether the target's containers request cpu could not be checked: the cache is not started",
	})
	f.Objects = broken{Reader: working, panics: true}
	f.want(f.ask(pathScaledObject, scaledObject(), nil), nil, []string{"an error inside of the admission webhook kept this object from being checked"})
}

func TestObjectsThatDoNotDecodeAreRefused(t *testing.T) {
	f := newFixture(t)
	answer := f.ask(pathScaledObject, scaledObject(), nil, func(r *admissionv1.AdmissionRequest) {
		r.Object.Raw = []byte(`{"spec": {"minReplicaCount": "many"}}`)
	})
	if answer.Allowed || !strings.Contains(answer.Result.Message, "minReplicaCount") {
		t.Errorf("answer %+v", answer)
	}
}

// An object beyond a limit is refused for that alone: nothing of it is looked at.
func TestLimits(t *testing.T) {
	many := make([]v1alpha1.ScaleTrigger, v1alpha1.DefaultLimits.Triggers+1)
	for i := range many {
		many[i] = kafka("lagThreshold", "0")
	}
	const refusal = "triggers: 101 triggers, more than the 100 that --max-triggers lets it have"
	check(t, map[string]row{"too many triggers": {object: scaledObject(triggers(many...)), refusals: []string{refusal}}})
	f := newFixture(t)
	f.want(f.ask(pathScaledJob, scaledJob(func(sj *v1alpha1.ScaledJob) { sj.Spec.Triggers = many }), nil), []string{refusal}, nil)
	auth := &v1alpha1.TriggerAuthentication{Spec: v1alpha1.TriggerAuthenticationSpec{
		SecretTargetRef: make([]v1alpha1.TargetRef, v1alpha1.DefaultLimits.References+1),
	}}
	f.want(f.ask(pathAuthentication, auth, nil), []string{"spec: 101 references, more than the 100 that --max-references lets it have"}, nil)
}
