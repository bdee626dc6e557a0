package scalertest_test

import (
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// A family of ours is a third party's scaler to anybody who asks it as one.
func TestFamilyKeepsTheContractOfThirdParties(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := scalertest.Background(t, scaler.New(scaler.Config{Family: "tank", Triggers: []scaler.Trigger{tank}}), l)
	t.Cleanup(stop)
	scalertest.ContractAt(t, l.Addr().String(), &externalscaler.ScaledObjectRef{
		Name: "app", Namespace: "default", ScalerMetadata: map[string]string{"level": "3"},
	}, grpc.WithTransportCredentials(insecure.NewCredentials()))
}
