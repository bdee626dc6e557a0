package federation

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Who needs a key is whoever the federation would speak mTLS with.
func TestSecureFamily(t *testing.T) {
	tests := map[string]struct {
		name, label string
		protocol    *string
		family      string // "" for none
	}{
		"by its label":          {name: "scaler-apache-kafka", label: "kafka", protocol: ptr.To("grpcs"), family: "kafka"},
		"by its type":           {name: "scaler-cron", protocol: ptr.To("grpcs"), family: "cron"},
		"mTLS is the default":   {name: "scaler-cron", family: "cron"},
		"plaintext":             {name: "scaler-counter", protocol: ptr.To("kubernetes.io/h2c")},
		"an unknown protocol":   {name: "scaler-counter", protocol: ptr.To("https")},
		"no family":             {name: "metrics-adapter", protocol: ptr.To("grpcs")},
		"a type that cannot be": {name: "scaler-", protocol: ptr.To("grpcs")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			service := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: tt.name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "grpc", AppProtocol: tt.protocol}}},
			}
			if tt.label != "" {
				service.Labels = map[string]string{familyLabel: tt.label}
			}
			family, ok := SecureFamily(service)
			if ok != (tt.family != "") || ok && family != tt.family {
				t.Errorf("%q, %t", family, ok)
			}
		})
	}
}
