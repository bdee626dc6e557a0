package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// cloudTasks scales on the tasks in a queue of Cloud Tasks, as Cloud Monitoring
// counts them: those of the future included.
var cloudTasks = scaler.Define("gcp-cloudtasks", openCloudTasks)

// cloudTasksParams is the metadata of a gcp-cloudtasks trigger.
type cloudTasksParams struct {
	identityParams

	// QueueName is the id of the queue.
	QueueName string `param:"queueName,required"`
	// ProjectID is the project of the queue.
	ProjectID string `param:"projectID,required"`
	// Value is the target.
	Value float64 `param:"value" default:"100" role:"target" unit:"tasks"`
	// ActivationValue is the activation threshold.
	ActivationValue float64 `param:"activationValue" default:"0" role:"activation" unit:"tasks"`
	// FilterDuration is how far back a value is looked for; 0 and less is 2. Values
	// come up to 3 minutes late, so 5 finds one where 2 does not.
	FilterDuration int64 `param:"filterDuration" default:"2" unit:"minutes"`
}

// Validate checks that somebody asks, and of which project.
func (p cloudTasksParams) Validate() error {
	return errors.Join(p.checkIdentity(), checkID("projectID", p.ProjectID))
}

// Warnings are those of KEDA.
func (cloudTasksParams) Warnings() []string { return announced("projectID") }

// Name is that of the queue.
func (p cloudTasksParams) Name() string { return scaler.MetricName("gcp-ct", p.QueueName) }

// minutes is the window of a number of minutes, of which 0 and less is 2.
func minutes(n int64) time.Duration {
	if n <= 0 {
		n = 2
	}
	return time.Duration(min(n, mostMinutes)) * time.Minute
}

// mostMinutes is longer than Google keeps values: 2 years.
const mostMinutes = 2 * 366 * 24 * 60

func openCloudTasks(ctx context.Context, p cloudTasksParams) (scaler.Source, error) {
	m, err := p.monitored(ctx)
	if err != nil {
		return nil, err
	}
	project, err := m.of(ctx, p.identityParams, p.ProjectID)
	if err != nil {
		return nil, err
	}
	q := resourceQuery{
		project: project, metric: "cloudtasks.googleapis.com/queue/depth", label: "queue_id", window: minutes(p.FilterDuration),
	}
	return scaler.Join(q, &resourceSource{
		query: q, id: p.QueueName, what: fmt.Sprintf("queue %s of project %s", p.QueueName, p.ProjectID),
		hint: fmt.Sprintf(" within %s by the filter %s (values come up to 3 minutes late: filterDuration 5 finds more; a queue that never had a task has none)",
			q.window, q.filter([]string{p.QueueName})),
	}), nil
}
