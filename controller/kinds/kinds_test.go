package kinds

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
)

func TestKindsHaveTheirRealNames(t *testing.T) {
	d := &Discovery{API: testcluster.Resources, Now: time.Now}
	want := map[string]string{"rollout": "Rollout", "ROLLOUTS": "Rollout", "Rollout": "Rollout"}
	for given, real := range want {
		got, err := d.Resolve(v1alpha1.ScaleTarget{APIVersion: "argoproj.io/v1alpha1", Kind: given})
		if err != nil || got.Kind != real || got.Resource != "rollouts" {
			t.Errorf("%s is %+v, %v", given, got, err)
		}
	}
}

// counted are Resources that may be away, and count who asks.
type counted struct {
	Resources
	err   error
	asked int
}

func (c *counted) ServerResourcesForGroupVersion(gv string) (*metav1.APIResourceList, error) {
	c.asked++
	if c.err != nil {
		return nil, c.err
	}
	return c.Resources.ServerResourcesForGroupVersion(gv)
}

func TestTheAPIServerIsAskedAboutAKindOnce(t *testing.T) {
	now := time.Now()
	api := &counted{Resources: testcluster.Resources}
	d := &Discovery{API: api, Now: func() time.Time { return now }}
	resolve := func(kind string, asked int) error {
		t.Helper()
		_, err := d.Resolve(v1alpha1.ScaleTarget{APIVersion: "argoproj.io/v1alpha1", Kind: kind})
		if api.asked != asked {
			t.Errorf("asked %d times, want %d", api.asked, asked)
		}
		return err
	}
	var unknown *UnknownKindError
	if err := errors.Join(resolve("Rollout", 1), resolve("rollouts", 1)); err != nil {
		t.Error(err)
	}
	if err := resolve("Analysis", 1); !errors.As(err, &unknown) {
		t.Errorf("error %v", err)
	}
	now = now.Add(missedFor)
	if err := resolve("Analysis", 2); !errors.As(err, &unknown) {
		t.Errorf("error %v", err)
	}
	api.err = errors.New("away")
	now = now.Add(missedFor)
	if err := resolve("Rollout", 2); err != nil {
		t.Errorf("a kind that is known: %v", err)
	}
	now = now.Add(discoveredFor)
	if err := resolve("Rollout", 3); err == nil || errors.As(err, &unknown) || !strings.Contains(err.Error(), "away") {
		t.Errorf("error %v: what is not known is not absent", err)
	}
}

// Anybody may name groups that there are not. What is known of those that there are
// stays, and so does what was last said of the others.
func TestMadeUpGroupsPushOutNothingElse(t *testing.T) {
	api := &counted{Resources: testcluster.Resources}
	now := time.Now()
	d := &Discovery{API: api, Now: func() time.Time { return now }}
	resolve := func(group string) { _, _ = d.Resolve(v1alpha1.ScaleTarget{APIVersion: group, Kind: "Rollout"}) }
	resolve("argoproj.io/v1alpha1")
	for i := range 3 * mostGroups {
		resolve(fmt.Sprintf("g%d.example.org/v1", i))
	}
	asked := api.asked
	resolve("argoproj.io/v1alpha1")
	if api.asked != asked {
		t.Error("a group that there is was forgotten")
	}
	for i := 2 * mostGroups; i < 3*mostGroups; i++ {
		resolve(fmt.Sprintf("g%d.example.org/v1", i))
	}
	if api.asked != asked {
		t.Errorf("%d of the last %d are asked about again", api.asked-asked, mostGroups)
	}
	if n := len(d.known.of) + len(d.missing.of); n > mostGroups+1 || len(d.missing.oldest) > mostGroups {
		t.Errorf("%d groups are remembered", n)
	}
}

// An object of no namespace would be everybody's who may write a ScaledObject.
func TestKindsOfTheClusterAreNoTargets(t *testing.T) {
	d := &Discovery{API: testcluster.Resources, Now: time.Now}
	_, err := d.Resolve(v1alpha1.ScaleTarget{APIVersion: "example.org/v1", Kind: "Fleet"})
	var unscalable *UnscalableError
	if !errors.As(err, &unscalable) || !strings.Contains(err.Error(), "example.org/v1.Fleet is of no namespace") {
		t.Errorf("error %v", err)
	}
}

func TestWhatIsRemembered(t *testing.T) {
	now := time.Now()
	d := &Discovery{API: &counted{Resources: testcluster.Resources}, Now: func() time.Time { return now }}
	rollout, made := v1alpha1.ScaleTarget{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout"}, v1alpha1.ScaleTarget{APIVersion: "example.org/v1", Kind: "Rollout"}
	if !d.Remembers(v1alpha1.ScaleTarget{}) || d.Remembers(rollout) || d.Remembers(made) {
		t.Error("what nobody asked about is remembered")
	}
	for _, ref := range []v1alpha1.ScaleTarget{rollout, made} {
		if _, _ = d.Resolve(ref); !d.Remembers(ref) {
			t.Errorf("%s is not remembered", ref.APIVersion)
		}
	}
	now = now.Add(missedFor)
	if !d.Remembers(rollout) || d.Remembers(made) {
		t.Error("what there is not is remembered for as long as what there is")
	}
}

// However many groups are made up, the API server is asked about so many in a time,
// and what is known of others stays known.
func TestMadeUpGroupsAreNoStorm(t *testing.T) {
	api, now := &counted{Resources: testcluster.Resources}, time.Now()
	const mostLooks = 100
	d := &Discovery{API: api, Now: func() time.Time { return now }, Looks: mostLooks}
	rollout := v1alpha1.ScaleTarget{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout"}
	if _, err := d.Resolve(rollout); err != nil {
		t.Fatal(err)
	}
	now = now.Add(discoveredFor)
	flood := func() (err error) {
		for i := range 10 * mostLooks {
			_, err = d.Resolve(v1alpha1.ScaleTarget{APIVersion: fmt.Sprintf("made-up-%d.example.org/v1", i), Kind: "Fleet"})
		}
		return err
	}
	api.asked = 0
	var unknown *UnknownKindError
	if err := flood(); err == nil || errors.As(err, &unknown) || !strings.Contains(err.Error(), "not looked for yet") {
		t.Errorf("of one that was not looked for it is said: %v", err)
	}
	if _, err := d.Resolve(rollout); err != nil {
		t.Errorf("one that is known: %v", err)
	}
	if api.asked != mostLooks {
		t.Errorf("the API server was asked %d times", api.asked)
	}
	now = now.Add(looksWithin)
	if _, err := d.Resolve(v1alpha1.ScaleTarget{APIVersion: "new.example.org/v1", Kind: "Fleet"}); !errors.As(err, &unknown) {
		t.Errorf("later: %v", err)
	}
}
