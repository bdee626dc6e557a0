package manager

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

func TestCovers(t *testing.T) {
	selector, err := labels.Parse("shard=a")
	if err != nil {
		t.Fatal(err)
	}
	everything := Options{Selector: labels.Everything()}
	some := Options{Selector: selector, WatchNamespaces: []string{"shop"}}
	meta := func(namespace, shard string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Labels: map[string]string{"shard": shard}}
	}
	tests := map[string]struct {
		options Options
		object  client.Object
		want    bool
	}{
		"everything":                       {everything, &v1alpha1.ScaledObject{ObjectMeta: meta("shop", "b")}, true},
		"namespace and label":              {some, &v1alpha1.ScaledObject{ObjectMeta: meta("shop", "a")}, true},
		"another namespace":                {some, &v1alpha1.ScaledObject{ObjectMeta: meta("bank", "a")}, false},
		"another label":                    {some, &v1alpha1.ScaledObject{ObjectMeta: meta("shop", "b")}, false},
		"another label of a ScaledJob":     {some, &v1alpha1.ScaledJob{ObjectMeta: meta("shop", "b")}, false},
		"labels of authentications":        {some, &v1alpha1.TriggerAuthentication{ObjectMeta: meta("shop", "b")}, true},
		"authentications elsewhere":        {some, &v1alpha1.TriggerAuthentication{ObjectMeta: meta("bank", "a")}, false},
		"authentications of the cluster's": {some, &v1alpha1.ClusterTriggerAuthentication{ObjectMeta: meta("", "b")}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if have := tt.options.covers(tt.object); have != tt.want {
				t.Errorf("covers = %v", have)
			}
		})
	}
}
