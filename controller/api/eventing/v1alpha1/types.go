// Package v1alpha1 holds the eventing.keda.sh/v1alpha1 API: where lifecycle
// events of scaled objects are sent to. Every name is KEDA's.
//
// +kubebuilder:object:generate=true
// +groupName=eventing.keda.sh
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	keda "github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// GroupVersion is the group and version of every type in this package.
var GroupVersion = schema.GroupVersion{Group: "eventing.keda.sh", Version: "v1alpha1"}

var schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme makes the types of this package known to a scheme.
var AddToScheme = schemeBuilder.AddToScheme

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&CloudEventSource{}, &CloudEventSourceList{},
		&ClusterCloudEventSource{}, &ClusterCloudEventSourceList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}

// Source is a CloudEventSource or a ClusterCloudEventSource.
//
// +kubebuilder:object:generate=false
type Source interface {
	client.Object
	// Wants is what the user asks for, State what became of it.
	Wants() *CloudEventSourceSpec
	State() *CloudEventSourceStatus
}

// CloudEventSource sends the events of its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=cloudeventsources,scope=Namespaced
// +kubebuilder:printcolumn:name="Active",type="string",JSONPath=".status.conditions[?(@.type==\"Active\")].status"
type CloudEventSource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   CloudEventSourceSpec   `json:"spec"`
	Status CloudEventSourceStatus `json:"status,omitempty"`
}

// Wants returns the spec.
func (s *CloudEventSource) Wants() *CloudEventSourceSpec { return &s.Spec }

// State returns the status.
func (s *CloudEventSource) State() *CloudEventSourceStatus { return &s.Status }

// CloudEventSourceList is a list of CloudEventSources.
//
// +kubebuilder:object:root=true
type CloudEventSourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []CloudEventSource `json:"items"`
}

// ClusterCloudEventSource sends the events of every namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=clustercloudeventsources,scope=Cluster
// +kubebuilder:printcolumn:name="Active",type="string",JSONPath=".status.conditions[?(@.type==\"Active\")].status"
type ClusterCloudEventSource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   CloudEventSourceSpec   `json:"spec"`
	Status CloudEventSourceStatus `json:"status,omitempty"`
}

// Wants returns the spec.
func (s *ClusterCloudEventSource) Wants() *CloudEventSourceSpec { return &s.Spec }

// State returns the status.
func (s *ClusterCloudEventSource) State() *CloudEventSourceStatus { return &s.Status }

// ClusterCloudEventSourceList is a list of ClusterCloudEventSources.
//
// +kubebuilder:object:root=true
type ClusterCloudEventSourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterCloudEventSource `json:"items"`
}

// CloudEventSourceSpec is what the user asks for.
type CloudEventSourceSpec struct {
	// ClusterName is the first part of source and subject of each event.
	// Default: what --k8s-cluster-name of the controller says.
	//
	// +optional
	ClusterName string `json:"clusterName,omitempty"`
	// Destination is where events are sent to.
	Destination Destination `json:"destination"`
	// AuthenticationRef is accepted for manifests written for KEDA. Sending
	// over HTTP uses none.
	//
	// +optional
	AuthenticationRef *keda.AuthenticationRef `json:"authenticationRef,omitempty"`
	// EventSubscription chooses among the event types. Default: all.
	//
	// +optional
	EventSubscription EventSubscription `json:"eventSubscription,omitempty"`
}

// Destination is where events are sent to.
type Destination struct {
	// HTTP is a sink that takes CloudEvents over HTTP.
	//
	// +optional
	HTTP *HTTPDestination `json:"http,omitempty"`
	// AzureEventGridTopic is a topic of Azure Event Grid. It needs credentials,
	// which the controller never has: it is accepted and reported as failed.
	//
	// +optional
	AzureEventGridTopic *AzureEventGridTopic `json:"azureEventGridTopic,omitempty"`
}

// HTTPDestination is a sink that takes CloudEvents over HTTP.
type HTTPDestination struct {
	// URI of the sink.
	URI string `json:"uri"`
}

// AzureEventGridTopic is a topic of Azure Event Grid.
type AzureEventGridTopic struct {
	// Endpoint of the topic.
	Endpoint string `json:"endpoint"`
}

// EventSubscription chooses among the event types.
//
// +kubebuilder:validation:XValidation:rule="!has(self.includedEventTypes) || size(self.includedEventTypes) == 0 || !has(self.excludedEventTypes) || size(self.excludedEventTypes) == 0",message="setting included types and excluded types at the same time is not supported"
type EventSubscription struct {
	// IncludedEventTypes are the only types that are sent.
	//
	// +optional
	// +listType=atomic
	IncludedEventTypes []EventType `json:"includedEventTypes,omitempty"`
	// ExcludedEventTypes are never sent.
	//
	// +optional
	// +listType=atomic
	ExcludedEventTypes []EventType `json:"excludedEventTypes,omitempty"`
}

// EventType is the type of a lifecycle event.
//
// +kubebuilder:validation:Enum=keda.scaledobject.ready.v1;keda.scaledobject.failed.v1;keda.scaledobject.removed.v1;keda.scaledobject.paused.v1;keda.scaledobject.unpaused.v1;keda.scaledjob.ready.v1;keda.scaledjob.failed.v1;keda.scaledjob.removed.v1;keda.scaledjob.paused.v1;keda.scaledjob.unpaused.v1;keda.scaledjob.rolloutcleanup.started.v1;keda.scaledjob.rolloutcleanup.completed.v1;keda.scaledjob.rolloutcleanup.failed.v1;keda.authentication.triggerauthentication.created.v1;keda.authentication.triggerauthentication.updated.v1;keda.authentication.triggerauthentication.removed.v1;keda.authentication.clustertriggerauthentication.created.v1;keda.authentication.clustertriggerauthentication.updated.v1;keda.authentication.clustertriggerauthentication.removed.v1
type EventType string

// CloudEventSourceStatus is what became of a source.
type CloudEventSourceStatus struct {
	// Conditions has one, Active: whether events are sent.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions keda.Conditions `json:"conditions,omitempty"`
}
