package scalerv1

import "time"

// The times that both sides of the contract go by.
const (
	// DefaultPollingInterval is KEDA's, for a trigger that names none.
	DefaultPollingInterval = 30 * time.Second
	// ShortestInterval is that of a trigger that names a shorter one.
	ShortestInterval = time.Second
	// SyncPeriod is how often the HPA controller asks for metrics by default.
	// While its target is at work a trigger is read at least that often, unless
	// its user wants cached metrics, and no older answer is given without a try
	// to read again.
	SyncPeriod = 15 * time.Second
	// ReadDeadline is how long a family gives one read unless it says otherwise
	// when it accepts the trigger.
	ReadDeadline = 10 * time.Second
)
