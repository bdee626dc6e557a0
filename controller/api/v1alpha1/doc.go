// Package v1alpha1 holds the keda.sh/v1alpha1 API: the resources users write
// and the status they read back. Every name is KEDA's, so manifests written
// for KEDA 2.x apply unchanged. The CRDs in deploy/crds are generated from
// these types.
//
// Optional numbers are pointers: 0 and "not given" are different answers.
// Defaults are applied by the methods beside the types when a value is used,
// never written into the object; fallback.behavior is the one exception.
//
// +kubebuilder:object:generate=true
// +groupName=keda.sh
package v1alpha1
