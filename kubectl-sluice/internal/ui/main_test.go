package ui

import (
	"testing"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	updateOptions metav1.UpdateOptions
	deleteOptions metav1.DeleteOptions
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
