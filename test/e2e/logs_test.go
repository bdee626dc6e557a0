package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	eventsv1 "k8s.io/api/events/v1"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// checkLogs proves of all that the tests made our processes say that it has one
// format, libraries' lines included, and that nobody was told of an error where
// somebody else's write was only faster.
func checkLogs() error {
	var errs []error
	for _, instance := range world.cluster.Instances("") {
		if err := checkLog(instance); err != nil {
			errs = append(errs, fmt.Errorf("log of %s: %w", instance.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// checkEvents proves of all events that are there at the end that each says
// something.
func checkEvents() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var list eventsv1.EventList
	if err := world.cluster.Client().List(ctx, &list); err != nil {
		return err
	}
	var errs []error
	for _, e := range list.Items {
		if strings.HasPrefix(e.Regarding.APIVersion, "keda.sh/") && e.Note == "" {
			errs = append(errs, fmt.Errorf("event %s of %s %s/%s says nothing", e.Reason, e.Regarding.Kind, e.Namespace, e.Regarding.Name))
		}
	}
	return errors.Join(errs...)
}

func checkLog(instance *localcluster.Instance) error {
	file, err := os.Open(instance.LogFile())
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Ts, Level, Msg, Error string }
		switch err := json.Unmarshal(lines.Bytes(), &line); {
		case err != nil:
			return fmt.Errorf("not JSON: %s", lines.Text())
		case line.Ts == "" || line.Msg == "" || line.Level != strings.ToLower(line.Level) || line.Level == "":
			return fmt.Errorf("without ts, level or msg: %s", lines.Text())
		case line.Level == "error" && strings.Contains(line.Error, "the object has been modified"):
			return fmt.Errorf("a conflict is no error: %s", lines.Text())
		}
	}
	return lines.Err()
}
