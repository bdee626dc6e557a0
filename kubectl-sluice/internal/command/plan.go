package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/hpa"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/plan"
)

// planning is what the user asks for.
type planning struct {
	cluster      *genericclioptions.ConfigFlags
	file, before string
	values       string
	prometheus   plan.Prometheus
	token        string
	since, step  time.Duration
	until        string
	targets      []string
	replicas     int32
	picture      string
	output       output.Format
	plan.Options
}

func planCommand() *cobra.Command {
	p := planning{cluster: genericclioptions.NewConfigFlags(true)}
	command := &cobra.Command{
		Use:   "plan",
		Short: "Replay recorded values through today's spec and a file's",
		Long: `Says what a changed ScaledObject would have done with the work there was: it
replays values that were recorded of the object, from a Prometheus or a CSV file,
through the spec in the cluster (or --before) and that of -f, on a virtual clock.
Leaving zero, cooldown, fallback and formulas are decided by the controller's own
code, what is in between by the HPA controller's algorithm. It prints both beside
each other and changes nothing.

Values are replayed as they were recorded, whatever the replicas of a replay: more
replicas do not drain a queue faster. --drain-rate says how fast one does.

A CSV file names its columns in its first row: time (RFC 3339, or seconds since
1970), trigger (the index of a trigger, its name or its metric's; not needed with one
trigger; "replicas" for the replicas there were) and value (a number, nothing for no
data, or error). A value holds until the next.

Exit codes: 0 both were replayed; 2 something is wrong with the files or the command
line, or could not be asked.`,
		Example: `  kubectl sluice plan -f orders.yaml --prometheus http://localhost:9090 --since 72h
  kubectl sluice plan -f orders.yaml --values orders.csv --picture orders.svg
  kubectl sluice plan -f new.yaml --before old.yaml --values orders.csv --drain-rate 2.5`,
		Args: nothing,
		RunE: func(command *cobra.Command, _ []string) error { return p.run(command.Context(), command) },
	}
	flags := command.Flags()
	p.cluster.AddFlags(flags)
	flags.Lookup("namespace").Usage = "that of objects which name none"
	flags.StringVarP(&p.file, "filename", "f", "", "the file with the changed ScaledObject, - for standard input")
	flags.StringVar(&p.before, "before", "", "a file with the ScaledObject as it is today, in place of the cluster's")
	flags.StringVar(&p.values, "values", "", "a CSV file with recorded values")
	flags.StringVar(&p.prometheus.URL, "prometheus", "", "URL of a Prometheus that scrapes the controller (keda_scaler_metrics_value), as seen from here")
	flags.StringVar(&p.token, "prometheus-token-file", "", "a file with the token that the Prometheus asks for")
	flags.DurationVar(&p.since, "since", 24*time.Hour, "how far back to ask the Prometheus")
	flags.StringVar(&p.until, "until", "", "until when (RFC 3339), now by default")
	flags.DurationVar(&p.step, "step", 0, "the time between two values of the Prometheus, pollingInterval by default")
	flags.DurationVar(&p.SyncPeriod, "sync-period", hpa.SyncPeriod, "the HPA controller's sync period")
	flags.DurationVar(&p.StartTime, "start-time", 20*time.Second, "from a Pod's creation to its being ready")
	flags.Float64Var(&p.DrainRate, "drain-rate", 0, "how much of the value a ready replica takes away in a second; 0 leaves the values as they were recorded")
	flags.Int32Var(&p.replicas, "replicas", -1, "replicas at the beginning, minReplicaCount or idleReplicaCount by default")
	flags.StringArrayVar(&p.targets, "target", nil, "<trigger index>=<target>[:<activation>] of a trigger whose metadata does not say it")
	flags.StringVar(&p.picture, "picture", "", "write a picture of the replicas over time to this file, as SVG")
	p.output.AddFlag(flags)
	complete(command, p.cluster, false)
	completeOutput(command, &p.output)
	return command
}

// check is all that is wrong with the command line, at once.
func (p *planning) check() error {
	var wrong []error
	add := func(is bool, format string, args ...any) {
		if is {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	add(p.file == "", "-f: names the file with the changed ScaledObject")
	if err := p.output.Check(); err != nil {
		wrong = append(wrong, err)
	}
	add((p.values == "") == (p.prometheus.URL == ""), "--values or --prometheus: one of them says where recorded values are")
	add(p.file == "-" && p.before == "-", "--before: standard input is read by -f")
	add(p.SyncPeriod < time.Second, "--sync-period: %s is less than a second", p.SyncPeriod)
	add(p.StartTime < 0, "--start-time: %s is negative", p.StartTime)
	add(!(p.DrainRate >= 0) || p.DrainRate > 1e12, "--drain-rate: %v is no number of pieces of work in a second", p.DrainRate)
	add(p.replicas < -1 || p.replicas > 100_000, "--replicas: %d is not from 0 to 100000", p.replicas)
	add(p.since <= 0, "--since: %s is not greater than 0", p.since)
	return errors.Join(wrong...)
}

func (p *planning) run(ctx context.Context, command *cobra.Command) error {
	if err := p.check(); err != nil {
		return err
	}
	after, err := p.read(p.file, "the file", command.InOrStdin())
	if err != nil {
		return err
	}
	before, names, err := p.today(ctx, command, after)
	if err != nil {
		return err
	}
	thresholds := map[int]plan.Threshold{}
	for _, text := range p.targets {
		i, threshold, err := plan.ParseThreshold(text)
		if err != nil {
			return fmt.Errorf("--target: %w", err)
		}
		thresholds[i] = threshold
	}
	after.Thresholds = thresholds
	if before != nil {
		before.Thresholds = thresholds
	}
	recording, err := p.recorded(ctx, after, before)
	if err != nil {
		return err
	}
	if p.replicas >= 0 {
		p.Replicas = &p.replicas
	}
	report, err := plan.Run(ctx, recording, before, after, names, p.Options)
	if err != nil {
		return err
	}
	if err := p.draw(report); err != nil {
		return err
	}
	if !p.output.ForPeople() {
		return p.output.Encode(command.OutOrStdout(), report)
	}
	return report.Print(command.OutOrStdout())
}

// read is the one ScaledObject of a file.
func (p *planning) read(path, name string, in io.Reader) (*plan.Side, error) {
	if path != "-" {
		name = filepath.Base(path)
	}
	set, err := objects.Files([]string{path}, in, p.namespace())
	if err != nil {
		return nil, err
	}
	var wrong []error
	for _, unread := range set.Unread {
		if unread.Key.Kind == "" || unread.Key.Kind == "ScaledObject" {
			wrong = append(wrong, fmt.Errorf("%s: %s", unread.Source, unread.Problem))
		}
	}
	for _, so := range set.ScaledObjects {
		key := objects.Key{Kind: "ScaledObject", Namespace: so.Namespace, Name: so.Name}
		if fields := set.Unknown[key]; len(fields) > 0 {
			wrong = append(wrong, fmt.Errorf("%s: %s: has no field %s", path, key, strings.Join(fields, ", ")))
		}
	}
	if n := len(set.ScaledObjects); n != 1 && len(wrong) == 0 {
		wrong = append(wrong, fmt.Errorf("%s: has %d ScaledObjects, and a plan is of one", path, n))
	}
	if most := 20; len(wrong) > most {
		wrong = append(wrong[:most], fmt.Errorf("and %d more", len(wrong)-most))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return &plan.Side{Name: name, Object: set.ScaledObjects[0]}, nil
}

// namespace is that of objects which name none.
func (p *planning) namespace() string {
	if p.before != "" { // no cluster is asked for
		if given := *p.cluster.Namespace; given != "" {
			return given
		}
		return "default"
	}
	namespace, _, err := p.cluster.ToRawKubeConfigLoader().Namespace()
	if err != nil || namespace == "" {
		return "default"
	}
	return namespace
}

// today is the spec there is, nil where there is none, and the object's metrics.
func (p *planning) today(ctx context.Context, command *cobra.Command, after *plan.Side) (*plan.Side, []string, error) {
	const name = "today"
	if p.before != "" {
		side, err := p.read(p.before, "standard input", command.InOrStdin())
		return side, nil, err
	}
	config, err := p.cluster.ToRESTConfig()
	var live *v1alpha1.ScaledObject
	if err == nil {
		live, err = plan.Live(ctx, config, after.Object.Namespace, after.Object.Name)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("today's spec: %w; --before names a file with it", err)
	}
	if live == nil {
		return nil, nil, nil
	}
	return &plan.Side{Name: name, Object: live}, live.Status.ExternalMetricNames, nil
}

// recorded are the values that there were.
func (p *planning) recorded(ctx context.Context, after, before *plan.Side) (*plan.Recording, error) {
	if p.values != "" {
		file, err := os.Open(p.values)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return plan.ReadCSV(filepath.Base(p.values), file)
	}
	object := after.Object
	if before != nil {
		object = before.Object
	}
	r := plan.Range{Namespace: object.Namespace, Name: object.Name, To: time.Now().UTC().Truncate(time.Second), Step: p.step}
	if r.Step == 0 {
		r.Step = object.PollingInterval()
	}
	if p.until != "" {
		at, err := time.Parse(time.RFC3339, p.until)
		if err != nil {
			return nil, fmt.Errorf("--until: %q is no time such as 2026-05-04T12:00:00Z", p.until)
		}
		r.To = at.UTC()
	}
	r.From = r.To.Add(-p.since)
	if p.token != "" {
		token, err := os.ReadFile(p.token)
		if err != nil {
			return nil, err
		}
		p.prometheus.Token = strings.TrimSpace(string(token))
	}
	//dials:administered the Prometheus that the user names, from the user's own machine
	p.prometheus.Client = &http.Client{Timeout: time.Minute}
	defer p.prometheus.Client.CloseIdleConnections()
	recording, err := p.prometheus.Read(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("--prometheus: %w", err)
	}
	return recording, nil
}

// draw writes the picture.
func (p *planning) draw(report *plan.Report) error {
	if p.picture == "" {
		return nil
	}
	file, err := os.Create(p.picture)
	if err != nil {
		return err
	}
	return errors.Join(report.Picture(file), file.Close())
}
