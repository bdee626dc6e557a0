package scaler

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sluice-autoscaler/sluice/identity"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/serving"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/suspects"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/tracing"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// version is set at link time: -X .../scalers/scaler.version=v0.1.0
var version = "dev"

// settings are the flags of a family, each with an environment variable that
// is read when the flag is not given.
type settings struct {
	serving.Listen
	logLevel        slog.Level
	readTimeout     time.Duration
	maxReadTimeout  time.Duration
	shutdownTimeout time.Duration
	describe        bool
	// stateDir has what outlives the process.
	stateDir string
	// showVersion asks for the version, and for nothing else.
	showVersion bool
	// credentials is whether triggers may refer to some, which resolver makes a
	// resolver of.
	credentials bool
	resolver    OpenResolver
}

// environment names a flag's environment variable.
var environment = map[string]string{
	"grpc-address":     "SLUICE_GRPC_ADDRESS",
	"loopback-address": "SLUICE_LOOPBACK_ADDRESS",
	"installation":     "SLUICE_INSTALLATION",
	"metrics-address":  "SLUICE_METRICS_ADDRESS",
	"log-level":        "SLUICE_LOG_LEVEL",
	"read-timeout":     "SLUICE_READ_TIMEOUT",
	"max-read-timeout": "SLUICE_MAX_READ_TIMEOUT",
	"shutdown-timeout": "SLUICE_SHUTDOWN_TIMEOUT",
}

// parseSettings reads flags from args and what they leave out from getenv.
func parseSettings(family string, args []string, getenv func(string) string, output io.Writer, options ...ServeOption) (settings, error) {
	s := settings{resolver: withoutCredentials(family)}
	flags := flag.NewFlagSet(family, flag.ContinueOnError)
	flags.SetOutput(output)
	s.AddFlags(flags)
	flags.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.DurationVar(&s.readTimeout, "read-timeout", scalerv1.ReadDeadline, "the longest that one read of a source may take; a shorter polling interval shortens it, down to 3s")
	flags.DurationVar(&s.maxReadTimeout, "max-read-timeout", time.Minute, "the longest that one read may take where the trigger has a timeout of its own")
	flags.DurationVar(&s.shutdownTimeout, "shutdown-timeout", 10*time.Second, "how long open streams have to end at shutdown")
	flags.StringVar(&s.stateDir, "state-dir", "", "a folder of this process alone that outlives it, such as an emptyDir: endpoints that are read when it crashes are kept away from afterwards; empty for none")
	flags.BoolVar(&s.showVersion, "version", false, "print the version and exit")
	flags.BoolVar(&s.describe, "describe", false, "print what the family serves as JSON and exit")
	client.Flags(flags)
	var with serveOptions
	for _, option := range options {
		option(&with)
	}
	if with.accounts {
		client.BudgetFlags(flags)
	}
	for _, add := range with.flags {
		add(flags)
	}
	if with.credentials != nil {
		s.credentials, s.resolver = true, with.credentials(flags, getenv)
	}
	if err := flags.Parse(args); err != nil || s.showVersion {
		return s, err
	}
	if err := client.CheckEnvironment(getenv); err != nil {
		return s, err
	}
	var err error
	if s.Policy, err = identity.ServingPolicy(getenv); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, variable := range environment {
		value := getenv(variable)
		if given[name] || value == "" {
			continue
		}
		if err := flags.Set(name, value); err != nil {
			return s, fmt.Errorf("%s: %w", variable, err)
		}
	}
	if s.Installation == "" {
		s.Installation = getenv("POD_NAMESPACE")
	}
	if s.Installation == "" && !s.Plaintext && !s.describe {
		return s, errors.New("--installation: is required for mTLS (or POD_NAMESPACE); --plaintext serves without")
	}
	return s, nil
}

// newLog writes lines as those of the controller and the adapter are: JSON with
// the time as ts and the level in small letters.
func newLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			switch {
			case len(groups) > 0:
			case a.Key == slog.TimeKey:
				return slog.String("ts", a.Value.Time().UTC().Format(time.RFC3339))
			case a.Key == slog.LevelKey:
				return slog.String(slog.LevelKey, strings.ToLower(a.Value.String()))
			}
			return a
		},
	}))
}

// Serve runs a family until ctx ends: flags, logs, gRPC with health and
// reflection, metrics and graceful stop. A family's main calls nothing else.
func Serve(ctx context.Context, family string, triggers []trigger.Trigger, options ...ServeOption) error {
	s, err := parseSettings(family, os.Args[1:], os.Getenv, os.Stderr, options...)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case s.showVersion:
		fmt.Println("scaler-"+family, version)
		return nil
	}
	if err := checkCredentials(triggers, s.credentials); err != nil {
		return err
	}
	if s.describe {
		return printDescription(os.Stdout, family, triggers)
	}
	log := newLog(os.Stderr, s.logLevel).With("family", family)
	slog.SetDefault(log)
	if _, err := memlimit.Set(); err != nil {
		log.Warn("the garbage collector does not know the memory limit of the container", "error", err)
	}
	resolver, err := s.resolver(log)
	if err != nil {
		return err
	}
	defer resolver.Close()
	traces, stopTraces, err := tracing.Provider(ctx, family, version, os.Getenv)
	if err != nil {
		log.Error("no traces are sent", "error", err)
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = stopTraces(last) // nobody is left to tell
	}()
	book := openBook(s.stateDir, log)
	defer book.Close()
	defer context.AfterFunc(ctx, book.Close)() // whatever becomes of the end
	return New(Config{
		Family: family, Version: version, Triggers: triggers, Log: log, Resolver: resolver, Traces: traces,
		ReadTimeout: s.readTimeout, MaxReadTimeout: s.maxReadTimeout, ShutdownTimeout: s.shutdownTimeout,
		Pool: pool.Config{Book: book},
	}).ListenAndServe(ctx, s.Listen)
}

// openBook opens the memory of which endpoints are read. It is nil, which
// remembers nothing, without a folder for it or where that cannot be used.
func openBook(dir string, log *slog.Logger) *suspects.Book {
	if dir == "" {
		return nil
	}
	book, err := suspects.Open(filepath.Join(dir, "endpoints"), time.Now(), log)
	if err != nil {
		log.Error("endpoints that end the process are not remembered", "flag", "--state-dir", "error", err)
	}
	return book
}

func printDescription(w io.Writer, family string, triggers []trigger.Trigger) error {
	text, err := describeJSON(family, version, triggers)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

// describeJSON is the answer to Describe as the flag --describe prints it.
func describeJSON(family, version string, triggers []trigger.Trigger) ([]byte, error) {
	return protojson.MarshalOptions{Multiline: true}.Marshal(trigger.Describe(family, version, triggers))
}
