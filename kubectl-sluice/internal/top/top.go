// Package top puts what is scaled in order: by work, load, replicas or failures. It
// has all of it from statuses and HPAs, but for cold starts, which a controller tells.
package top

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/coldstart"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Row is one object. What is not known is absent, and never 0.
type Row struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// State is failing, fallback, paused, active, idle or unknown.
	State string `json:"state"`
	// Backlog is the value of the trigger that asks for most, of all replicas
	// together, and Metric which that is.
	Backlog *float64 `json:"backlog,omitempty"`
	Metric  string   `json:"metric,omitempty"`
	// Load is Backlog by what the replicas are there for: 1 is just enough.
	Load *float64 `json:"load,omitempty"`
	// Replicas there are, or Jobs that run, and Desired those that there should
	// be.
	Replicas *int32 `json:"replicas,omitempty"`
	Desired  *int64 `json:"desired,omitempty"`
	Min      int32  `json:"min"`
	Max      int32  `json:"max"`
	// LastActive is when there was work last.
	LastActive *time.Time `json:"lastActive,omitempty"`
	// ColdStart is the last one, nil for a ScaledJob.
	ColdStart *coldstart.Last `json:"coldStart,omitempty"`
	// Failures in a row, of the metric that has most.
	Failures int32 `json:"failures"`
	// Problem is what condition Ready says where it is not True.
	Problem string `json:"problem,omitempty"`
}

// Rows are all objects of what was read.
func Rows(s *objects.Scaled) []Row {
	hpas := map[[2]string]*autoscalingv2.HorizontalPodAutoscaler{}
	for _, hpa := range s.HPAs {
		hpas[[2]string{hpa.Namespace, hpa.Name}] = hpa
	}
	rows := make([]Row, 0, len(s.ScaledObjects)+len(s.ScaledJobs))
	for _, so := range s.ScaledObjects {
		name := so.Status.HpaName
		if name == "" {
			name = so.HPAName()
		}
		rows = append(rows, ofObject(so, hpas[[2]string{so.Namespace, name}]))
	}
	for _, sj := range s.ScaledJobs {
		rows = append(rows, ofJob(sj))
	}
	return rows
}

// Measured adds the last cold starts to rows, which a controller tells.
func Measured(rows []Row, told *account.ColdStarts) {
	last := make(map[[2]string]*account.ColdStart, len(told.Objects))
	for i := range told.Objects {
		o := &told.Objects[i]
		last[[2]string{o.Namespace, o.Name}] = &o.ColdStart
	}
	for i := range rows {
		if r := &rows[i]; r.ColdStart != nil {
			cold := r.ColdStart.With(last[[2]string{r.Namespace, r.Name}])
			r.ColdStart = &cold
		}
	}
}

func ofObject(so *v1alpha1.ScaledObject, hpa *autoscalingv2.HorizontalPodAutoscaler) Row {
	r := Row{Kind: scalerv1.KindScaledObject, Namespace: so.Namespace, Name: so.Name, Min: so.MinReplicas(), Max: so.MaxReplicas()}
	r.status(so.Status.Conditions, so.Status.LastActiveTime, so.Status.Health)
	cold := coldstart.Of(so)
	r.ColdStart = &cold
	if hpa == nil {
		return r
	}
	replicas, desired := hpa.Status.CurrentReplicas, int64(hpa.Status.DesiredReplicas)
	r.Replicas = &replicas
	if desired > 0 || replicas == 0 { // an HPA that has not decided yet says 0, and never means it
		r.Desired = &desired
	}
	if replicas == 0 { // an HPA leaves what it said last
		return r
	}
	for _, said := range hpa.Status.CurrentMetrics {
		if said.External == nil {
			continue
		}
		for _, wanted := range hpa.Spec.Metrics {
			if wanted.External == nil || wanted.External.Metric.Name != said.External.Metric.Name {
				continue
			}
			backlog, load, known := loadOf(wanted.External.Target, said.External.Current, replicas)
			if known && (r.Load == nil || load > *r.Load) {
				r.Backlog, r.Load, r.Metric = &backlog, &load, said.External.Metric.Name
			}
		}
	}
	return r
}

// loadOf is the value of a metric of all replicas, and by how much it is over what
// they are there for.
func loadOf(target autoscalingv2.MetricTarget, current autoscalingv2.MetricValueStatus, replicas int32) (backlog, load float64, known bool) {
	float := func(q *resource.Quantity) float64 { return q.AsApproximateFloat64() }
	switch {
	case target.AverageValue != nil && current.AverageValue != nil && float(target.AverageValue) > 0:
		average := float(current.AverageValue)
		return average * float64(replicas), average / float(target.AverageValue), true
	case target.Value != nil && current.Value != nil && float(target.Value) > 0:
		return float(current.Value), float(current.Value) / float(target.Value), true
	}
	return 0, 0, false
}

func ofJob(sj *v1alpha1.ScaledJob) Row {
	r := Row{Kind: scalerv1.KindScaledJob, Namespace: sj.Namespace, Name: sj.Name, Min: sj.MinJobs(), Max: sj.MaxJobs()}
	r.status(sj.Status.Conditions, sj.Status.LastActiveTime, sj.Status.Health)
	if jobs := sj.Status.Jobs; jobs != nil {
		backlog, running, wanted := float64(jobs.QueueLength), jobs.Running, jobs.Wanted
		r.Backlog, r.Replicas, r.Desired = &backlog, &running, &wanted
		if running > 0 {
			load := float64(wanted) / float64(running)
			r.Load = &load
		}
	}
	return r
}

// status takes in what both kinds have.
func (r *Row) status(conditions v1alpha1.Conditions, last *metav1.Time, health map[string]v1alpha1.HealthStatus) {
	if last != nil {
		r.LastActive = &last.Time
	}
	for _, h := range health {
		if h.NumberOfFailures != nil {
			r.Failures = max(r.Failures, *h.NumberOfFailures)
		}
	}
	ready, known := conditions.Get(v1alpha1.ConditionReady)
	active, _ := conditions.Get(v1alpha1.ConditionActive)
	switch {
	case known && ready.Status == metav1.ConditionFalse:
		r.State, r.Problem = "failing", ready.Message
	case conditions.IsTrue(v1alpha1.ConditionPaused):
		r.State = "paused"
	case conditions.IsTrue(v1alpha1.ConditionFallback):
		r.State = "fallback"
	case active.Status == metav1.ConditionTrue:
		r.State = "active"
	case active.Status == metav1.ConditionFalse:
		r.State = "idle"
	default:
		r.State = "unknown"
	}
}

// orders are what rows can be sorted by, what stands out first.
var orders = map[string]func(a, b Row) int{
	"load":     func(a, b Row) int { return most(a.Load, b.Load) },
	"backlog":  func(a, b Row) int { return most(a.Backlog, b.Backlog) },
	"replicas": func(a, b Row) int { return most(a.Replicas, b.Replicas) },
	"failures": func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Failures, a.Failures), cmp.Compare(failing(b), failing(a)))
	},
	"cold-start": func(a, b Row) int { return most(a.waited(), b.waited()) },
	"active":     func(a, b Row) int { return most(unix(a.LastActive), unix(b.LastActive)) },
	"name":       func(Row, Row) int { return 0 },
}

// waited is how long work did at the last cold start, nil where none is known.
func (r Row) waited() *float64 {
	if r.ColdStart == nil {
		return nil
	}
	return r.ColdStart.Seconds
}

func failing(r Row) int {
	if r.State == "failing" {
		return 1
	}
	return 0
}

func unix(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	seconds := t.Unix()
	return &seconds
}

// most has the larger first, and what is not known last.
func most[T cmp.Ordered](a, b *T) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Compare(*b, *a)
}

// Orders are what rows can be sorted by.
func Orders() []string { return slices.Sorted(maps.Keys(orders)) }

// Sort puts rows in an order, and those that are equal in it by name.
func Sort(rows []Row, by string) error {
	order, known := orders[by]
	if !known {
		return fmt.Errorf("--sort-by: %q is none of %s", by, strings.Join(Orders(), ", "))
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(order(a, b), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	return nil
}

// List are rows for programs.
type List struct {
	Objects []Row `json:"objects"`
	// Missing is what could not be found out.
	Missing []string `json:"missing,omitempty"`
}

// Print writes the list for people.
func (l *List) Print(to io.Writer, now time.Time) error {
	var text bytes.Buffer
	if err := Print(&text, l.Objects, now); err != nil {
		return err
	}
	for i, missing := range l.Missing {
		if i == 0 {
			text.WriteString("\nWhat could not be found out\n")
		}
		fmt.Fprintf(&text, "  %s\n", terminal.Line(missing))
	}
	_, err := to.Write(text.Bytes())
	return err
}

// longestProblem is how much of one is shown in a table, in bytes.
const longestProblem = 120

// Print writes rows for people.
func Print(to io.Writer, rows []Row, now time.Time) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(to, "nothing is scaled here")
		return err
	}
	columns := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, "NAMESPACE\tNAME\tSTATE\tBACKLOG\tLOAD\tREPLICAS\tMIN\tMAX\tLAST ACTIVE\tCOLD START\tFAILURES\tPROBLEM")
	for _, r := range rows {
		name := terminal.Line(r.Name)
		if r.Kind == scalerv1.KindScaledJob {
			name = "sj/" + name
		}
		backlog, load, replicas, last, cold := "-", "-", "-", "-", "-"
		if r.Backlog != nil {
			backlog = strconv.FormatFloat(*r.Backlog, 'f', -1, 64)
			if float64(int64(*r.Backlog)) != *r.Backlog {
				backlog = strconv.FormatFloat(*r.Backlog, 'f', 2, 64)
			}
		}
		if r.Load != nil {
			load = strconv.FormatFloat(*r.Load*100, 'f', 0, 64) + "%"
		}
		if r.Replicas != nil {
			replicas = strconv.Itoa(int(*r.Replicas))
			if r.Desired != nil && *r.Desired != int64(*r.Replicas) {
				replicas += "->" + strconv.FormatInt(*r.Desired, 10)
			}
		}
		if r.LastActive != nil {
			last = max(now.Sub(*r.LastActive), 0).Round(time.Second).String()
		}
		if r.ColdStart != nil {
			cold = r.ColdStart.Short()
		}
		problem := terminal.Line(r.Problem)
		if len(problem) > longestProblem {
			problem = strings.ToValidUTF8(problem[:longestProblem], "") + "..."
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%d\t%s\n",
			terminal.Line(r.Namespace), name, r.State, backlog, load, replicas, r.Min, r.Max, last, cold, r.Failures, problem)
	}
	return columns.Flush()
}
