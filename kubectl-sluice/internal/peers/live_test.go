package peers

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/apitest"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// family is a gRPC server in place of a family's.
type family struct {
	scalerv1.UnimplementedScalerServiceServer
	describes error // why it does not
	checks    error
	problems  []string
	asked     int
}

func (f *family) Describe(context.Context, *scalerv1.DescribeRequest) (*scalerv1.DescribeResponse, error) {
	if f.describes != nil {
		return nil, f.describes
	}
	return &scalerv1.DescribeResponse{Family: "redis", TriggerTypes: []*scalerv1.TriggerType{
		{Type: "redis", Parameters: []*scalerv1.Parameter{{Name: "ofTheNextVersion"}}},
	}}, nil
}

func (f *family) Check(context.Context, *scalerv1.CheckRequest) (*scalerv1.CheckResponse, error) {
	f.asked++
	return &scalerv1.CheckResponse{Problems: f.problems}, f.checks
}

const (
	service = "/api/v1/namespaces/sluice-system/services/scaler-redis"
	pods    = "/api/v1/namespaces/sluice-system/pods"
)

func objects() map[string]string {
	return map[string]string{
		service: `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scaler-redis"}, "spec": {"selector": {"app.kubernetes.io/name": "scaler-redis"}}}`,
		pods: `{"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "scaler-redis-a", "namespace": "sluice-system"},
			"spec": {"containers": [{"ports": [{"name": "loopback", "containerPort": 9091}]}]}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}`,
	}
}

// TestLiveFamilies: what a family says of itself counts; where it does not say so,
// what this version knows, and why is noted.
func TestLiveFamilies(t *testing.T) {
	trigger := federation.Trigger{ID: federation.ID{Kind: "ScaledObject", Namespace: "shop", Name: "worker"}, Type: "redis"}
	for name, tt := range map[string]struct {
		family             family
		without, forbidden string
		failure            string
		live, serves       bool
		note               string
		problems           int
	}{
		"all there":             {family: family{problems: []string{"listName: missing"}}, live: true, serves: true, problems: 1},
		"somebody's own":        {family: family{describes: status.Error(codes.Unimplemented, "unknown method")}, serves: true},
		"one that fails":        {family: family{describes: status.Error(codes.Internal, "out of order")}, serves: true, note: "type redis: out of order"},
		"one that cannot check": {family: family{checks: status.Error(codes.Unimplemented, "unknown method")}, live: true, serves: true},
		"very many problems":    {family: family{problems: make([]string, 1000)}, live: true, serves: true, problems: mostProblems},
		"not installed":         {without: service, note: "family redis, which serves the type, is not installed"},
		"no right to the Service": {
			forbidden: service, serves: true, note: "you may not get Service scaler-redis",
		},
		"no right to Pods": {forbidden: pods, serves: true, note: "you may not list Pods"},
		"nobody listens":   {failure: "connection refused on port 9091", serves: true, note: "port 9091"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &apitest.API{T: t, Objects: objects(), Forbidden: map[string]bool{tt.forbidden: true}, Port: "9091", Failure: tt.failure}
			a.Address = apitest.Serve(t, func(s *grpc.Server) { scalerv1.RegisterScalerServiceServer(s, &tt.family) })
			delete(a.Objects, tt.without)
			all, err := Connect(a.Start(), "sluice-system")
			if err != nil {
				t.Fatal(err)
			}
			live, err := all.Learn(t.Context(), []string{"redis", "redis"})
			if err != nil {
				t.Fatal(err)
			}
			defer live.Close()
			described, err := live.Describe("redis")
			if err != nil || (described.GetParameters()[0].GetName() == "ofTheNextVersion") != tt.live {
				t.Errorf("%v, %v", described, err)
			}
			if live.Serves("redis") != tt.serves || live.Serves("kafka") {
				t.Errorf("serves redis: %v", live.Serves("redis"))
			}
			if notes := strings.Join(live.Notes(), "; "); !strings.Contains(notes, tt.note) || (notes == "") != (tt.note == "") {
				t.Error(notes)
			}
			problems, err := live.Check(t.Context(), trigger)
			if len(problems) != tt.problems || (err == nil) != (tt.problems > 0) {
				t.Errorf("%v, %v", problems, err)
			}
			if _, err := live.Check(t.Context(), trigger); tt.family.checks != nil && (err == nil || tt.family.asked != 1) {
				t.Errorf("one that does not answer was asked %d times, %v", tt.family.asked, err)
			}
			const note = "type redis: what is wrong with its triggers beyond their parameters is not known: "
			if notes := strings.Join(live.Notes(), "; "); strings.Count(notes, note) > 1 || strings.Contains(notes, note) != (tt.family.checks != nil) {
				t.Errorf("of what the family does not say: %s", notes)
			}
		})
	}
}

// TestTypesAreBounded: manifests may have triggers of any number of types.
func TestTypesAreBounded(t *testing.T) {
	a := &apitest.API{T: t}
	all, err := Connect(a.Start(), "sluice-system")
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for i := range 3 * mostTypes {
		types = append(types, "type-"+strings.Repeat("x", i))
	}
	live, err := all.Learn(t.Context(), types)
	if err != nil {
		t.Fatal(err)
	}
	if err := live.Close(); err != nil || len(live.types) != mostTypes || len(live.Notes()) != mostTypes+1 {
		t.Errorf("%d types, %d notes, %v", len(live.types), len(live.Notes()), err)
	}
	for _, note := range live.Notes() {
		if len(note) > 1000 {
			t.Errorf("a note of %d bytes", len(note))
		}
	}
}
