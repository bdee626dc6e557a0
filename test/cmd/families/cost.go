package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/test/examples"
)

const loopback = "127.0.0.1"

// costs runs one process of each family, which is asked over plaintext, or over
// loopback where it reads a Secret.
func costs(ctx context.Context, o options) (err error) {
	var ends closing
	defer func() { err = errors.Join(err, ends.close()) }()
	all, err := cloudSources(ctx, loopback, &ends)
	if err != nil {
		return err
	}
	wanted := func(s source) bool { return s.costs && (o.only == "" || s.name == o.only) }
	if o.only == "" || !slices.ContainsFunc(all, wanted) {
		others, err := allSources(ctx, loopback, &ends)
		if err != nil {
			return err
		}
		all = append(others, all...)
	}
	pages := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"waiting":0}`)
	})}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback+":0")
	if err != nil {
		return err
	}
	go func() { _ = pages.Serve(listener) }()
	ends.add(pages.Close)
	all = append(all,
		source{name: "cron", costs: true, family: "cron", triggerType: "cron", metadata: map[string]string{"timezone": "UTC", "desiredReplicas": "2"},
			of: func(i int) map[string]string {
				return map[string]string{"start": fmt.Sprintf("%d %d 1 1 *", i%60, i/60%24), "end": fmt.Sprintf("%d %d 2 1 *", i%60, i/60%24)}
			}},
		source{name: "metrics-api", costs: true, family: "http", triggerType: "metrics-api", metadata: map[string]string{"valueLocation": "waiting", "targetValue": "1"},
			of: func(i int) map[string]string {
				return map[string]string{"url": fmt.Sprintf("http://%s/%d", listener.Addr(), i)}
			}})
	rows := [][]string{{"family", "trigger type", "MiB at rest", fmt.Sprintf("MiB with %d", o.triggers), "millicores at rest", fmt.Sprintf("millicores with %d", o.triggers)}}
	for _, s := range all {
		if !wanted(s) {
			continue
		}
		row, err := s.cost(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		rows = append(rows, row)
	}
	table(rows)
	if o.only != "" {
		return nil
	}
	return unmeasured(o, all)
}

// unmeasured names the types that no source is of.
func unmeasured(o options, all []source) error {
	measured := map[string]bool{}
	for _, s := range all {
		measured[s.triggerType] = true
	}
	types, err := examples.Triggers(filepath.Join(o.binaries, ".."))
	if err != nil {
		return err
	}
	var missing []string
	for _, t := range types {
		if !measured[t.Type] {
			missing = append(missing, t.Type)
		}
	}
	fmt.Println("not measured, for want of a source in test/cmd/families:", strings.Join(missing, ", "))
	fmt.Println()
	return nil
}

// cost starts the family, leaves it alone, subscribes to all triggers, and
// looks again once all have been read.
func (s source) cost(ctx context.Context, o options) (row []string, err error) {
	if s.prepare != nil {
		if err := s.prepare(ctx, o.triggers); err != nil {
			return nil, err
		}
	}
	p, err := start(ctx, o.binaries, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	rest, err := p.watch(ctx, o.rest)
	if err != nil {
		return nil, err
	}
	if err := p.subscribe(ctx, s, o); err != nil {
		return nil, err
	}
	work, err := p.watch(ctx, o.work)
	if err != nil {
		return nil, err
	}
	return []string{s.family, s.name, fmt.Sprintf("%.0f", rest.mib), fmt.Sprintf("%.0f", work.mib), fmt.Sprintf("%.0f", rest.millicores), fmt.Sprintf("%.0f", work.millicores)}, nil
}

// process is a family's, with a client.
type process struct {
	cmd     *exec.Cmd
	metrics string
	conn    *grpc.ClientConn
	ends    closing
}

func start(ctx context.Context, binaries string, s source) (*process, error) {
	var ports [3]string
	for i := range ports {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback+":0")
		if err != nil {
			return nil, err
		}
		ports[i] = l.Addr().String()
		l.Close()
	}
	p := &process{metrics: "http://" + ports[1] + "/metrics"}
	args := append([]string{
		"--plaintext", "--allow-source-address=" + loopback, "--grpc-address=" + ports[0], "--metrics-address=" + ports[1], "--log-level=error",
	}, s.args...)
	asked, env := ports[0], s.env
	if s.login == nil {
		args = append(args, "--loopback-address=")
	} else {
		kubeconfig, err := keeper(ctx, s.login, &p.ends)
		if err != nil {
			return nil, errors.Join(err, p.ends.close())
		}
		asked, env = ports[2], append(env, "KUBECONFIG="+kubeconfig)
		args = append(args, "--loopback-address="+asked, "--loopback-credentials")
	}
	p.cmd = exec.CommandContext(ctx, filepath.Join(binaries, "scaler-"+s.family), args...) //nolint:gosec // ours
	// GOGC is that of deploy/manifests/templates.
	p.cmd.Env = append(append(os.Environ(), "GOGC=50", "AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=example"), env...)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, p.ends.close())
	}
	var err error
	p.conn, err = grpc.NewClient("passthrough:///"+asked, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return p, err
}

func (p *process) end() error {
	err := p.conn.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(err, p.cmd.Wait(), p.ends.close())
}

// subscribe asks for all triggers, as the controller does for objects at zero,
// and returns once each was read.
func (p *process) subscribe(ctx context.Context, s source, o options) error {
	stream, err := scalerv1.NewScalerServiceClient(p.conn).Watch(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for i := range o.triggers {
		metadata := s.trigger(i)
		metadata[scalerv1.KeyTriggerType] = s.triggerType
		if s.family == "aws" {
			metadata["identityOwner"] = "operator"
		}
		if s.login != nil {
			metadata[scalerv1.KeyAuthenticationRef] = "TriggerAuthentication/" + authentication
		}
		err := stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{
			Id: fmt.Sprintf("ScaledObject/default/app-%d/0", i), Generation: 1, Mode: scalerv1.Mode_MODE_IDLE, Interval: durationpb.New(o.interval),
			Ref: &externalscaler.ScaledObjectRef{Name: fmt.Sprintf("app-%d", i), Namespace: "default", ScalerMetadata: metadata},
		}}})
		if err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for len(seen) < o.triggers {
		frame, err := stream.Recv()
		switch {
		case err != nil:
			return err
		case frame.GetRejected() != nil:
			return errors.New(frame.GetRejected().GetStatus().GetMessage())
		case frame.GetObservation() != nil:
			if text := frame.GetObservation().GetStatus().GetMessage(); text != "" {
				return errors.New(text)
			}
			seen[frame.GetObservation().GetId()] = true
		}
	}
	go func() { // it goes on
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	}()
	return nil
}

// use is what a process used over some time.
type use struct{ mib, millicores float64 }

// watch looks every second; memory is the most that was seen.
func (p *process) watch(ctx context.Context, long time.Duration) (use, error) {
	var u use
	var begin time.Time
	var first float64
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return u, ctx.Err()
		case now := <-tick.C:
			memory, cpu, err := p.look(ctx)
			if err != nil {
				return u, err
			}
			if begin.IsZero() {
				begin, first = now, cpu
			}
			u.mib = max(u.mib, memory/(1<<20))
			if spent := now.Sub(begin); spent >= long {
				u.millicores = 1000 * (cpu - first) / spent.Seconds()
				return u, nil
			}
		}
	}
}

// look reads the process's own metrics.
func (p *process) look(ctx context.Context) (memory, cpu float64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.metrics, nil)
	if err != nil {
		return 0, 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, 0, err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "process_resident_memory_bytes":
			memory, _ = strconv.ParseFloat(value, 64)
		case "process_cpu_seconds_total":
			cpu, _ = strconv.ParseFloat(value, 64)
		}
	}
	if memory == 0 {
		err = errors.New("the process does not say how much memory it has")
	}
	return memory, cpu, errors.Join(err, lines.Err())
}
