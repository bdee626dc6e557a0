// Package contract has the types that a trigger type and the library share:
// what a source is, what it answers and what it may know. Families see them as
// those of package scaler.
package contract

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Source reads the demand behind one question: the backlog of a queue, the lag
// of a consumer group, the result of a query. Every trigger that asks the same
// question shares one Source, whatever its target. Read is never called twice
// at once.
//
// A Source may also be a Batched, a Ringer, a Timed or a Specced. One that is an
// io.Closer is closed once, after the last Read; connections that Shared gave to
// its Open are released without that.
type Source interface {
	// Read asks the backend now and returns one Reading per metric, in the
	// order of the trigger's Metrics. It returns within ctx's deadline. A read
	// that others have to wait for may be ended sooner, and is made again.
	//
	// A backend that answers "empty" is a Reading of 0; one that answers but
	// has nothing to say is ErrNoData; one that does not answer is an error.
	// Fallback counts errors, so never guess a value.
	Read(ctx context.Context) ([]Reading, error)
}

// ErrNoData is returned by Read, alone or wrapped, when the backend answered
// but has nothing to say: an empty query result, a series without points, NaN.
// What it becomes is the trigger's documented rule, see OnNoData and Missing.
var ErrNoData = errors.New("no data")

// ErrPartial is an ErrNoData of a backend that warns that its answer may not be
// complete. The user is told so even where no data is a value.
var ErrPartial = fmt.Errorf("%w", ErrNoData)

// Reading is one observation of a metric, in the unit of its Target.
type Reading struct {
	// Value is what the autoscaler divides by the target.
	Value float64
	// Activity is held against the activation threshold. It equals Value
	// unless the trigger caps or excludes part of it.
	Activity float64
	// Detail is what else the source saw. It is for a Shaper of the same
	// trigger type, is shared by all subscriptions and therefore never
	// changed, and does not leave the process.
	Detail any
	// EventTime is when the work arrived by the source's own clock; zero where
	// the source does not tell. For tracing only.
	EventTime time.Time
}

// One is the reading of a trigger with one metric whose activity is its value.
func One(value float64) []Reading {
	return []Reading{{Value: value, Activity: value}}
}

// Metric is what the autoscaler is told about one metric of a trigger.
type Metric struct {
	// Name identifies the metric within its trigger, for example
	// "aws-sqs-orders". Users see it in the HPA, so it never changes. The
	// controller adds the "s<trigger index>-" prefix.
	Name string
	// Target is the value one replica (AverageValue) or all replicas together
	// (Value) should carry.
	Target float64
	// Activation is the threshold a reading must exceed to leave zero replicas.
	Activation float64
}

// Params is the params struct of a trigger type: a Named or, where there is more
// to say of its metrics, a Metered. Its methods have value receivers. One that has
// rules across fields also has
//
//	Validate() error
//
// which joins all problems it finds with errors.Join; each starts with the
// parameter's key. None of them does I/O.
type Params any

// Named is implemented by params with one metric, whose target and activation
// threshold are the parameters that have these roles.
type Named interface {
	// Name is that of the metric. It needs neither the source nor credentials: an
	// HPA can be built from a trigger whose broker is down. Only parameters that
	// come from the trigger's own metadata may be used; "" means that the others
	// have to be waited for.
	Name() string
}

// Metered is implemented by params that say themselves which metrics they have.
type Metered interface {
	// Metrics is under the rules of Name, and names are unique within the trigger.
	// A trigger whose source names its metrics (a Specced) returns nil.
	Metrics() []Metric
}

// Warner is implemented by params that are valid and still may not do what the
// user meant.
type Warner interface {
	// Warnings are sentences for the user; each starts with the parameter's
	// key. Like Validate it does no I/O.
	Warnings() []string
}

// ReadTimeouter is implemented by params that say themselves how long a read
// may take.
type ReadTimeouter interface {
	// ReadTimeout is the user's own limit, or 0 for none. A read is given that
	// long even where its interval is shorter, up to --max-read-timeout.
	ReadTimeout() time.Duration
}

// Missing is implemented by params that say what a reading without data
// becomes, in place of the rule of the type.
type Missing interface {
	NoData() NoDataRule
}

// Shaper is implemented by params whose metric depends on parameters that are
// not part of the question, such as a cap at partitions × target. The raw
// readings are shared by subscriptions with different targets; Shape makes
// this subscription's readings out of them. It is pure and does not change raw.
type Shaper interface {
	Shape(raw []Reading) []Reading
}

// Batched is a Source that can be read together with others of the same
// endpoint. The sampler reads what is due together in one call of ReadBatch
// instead of one Read each. One that embeds Member has both methods.
type Batched interface {
	Source
	// Batch is what the sources to be read together have in common, usually
	// the shared connection. Sources belong together when their Batches are
	// equal (==).
	Batch() Batch
}

// Batch reads many sources of one endpoint at once.
type Batch interface {
	// ReadBatch calls answer for the source at index i as soon as that one's
	// Result is known, and returns when nothing is left to be answered or ctx
	// ends. answer may be called from several goroutines, not after ReadBatch
	// has returned; the first answer of a member counts, whatever happens
	// afterwards.
	//
	// A member's problem is its own Result. An error is for the members that
	// were not answered; those are tried once more as two halves, so that one
	// poisoned member cannot blind the rest.
	//
	// An error about an answer that goes beyond a bound, such as a PeerError, is
	// nobody's where several were asked, whether it is a member's Result or that of
	// ReadBatch: they are asked by ever smaller parts, until one is left alone with
	// it, which is then left alone itself for some minutes. So such an error stays
	// what it is to errors.As, whatever is put before it. Where a request was refused
	// for want of a budget, its members are asked again by some of their namespaces.
	//
	// A part that stalls fails itself alone. What does not depend on it is asked
	// beside it and answered at once: parts of a batch, such as the nodes of a
	// cluster, run side by side, and what one part needs in several steps does
	// not wait for the steps of another. Retries end with ctx and replace no
	// answer.
	//
	// ctx has half of the time that a read may take. Members without an answer
	// by then are asked by their own Read in the other half, and stay out of the
	// next batches until they answer quickly; a member that is answered only by
	// itself is read that way for a while. Slow members are read together too,
	// for all of the time, but apart from the others. A family may tell a member
	// earlier that it is not answered, by an error with the code
	// DeadlineExceeded that names the part.
	ReadBatch(ctx context.Context, sources []Source, answer func(i int, r Result)) error
}

// Gathered is a Batch whose request costs the source as much for one member as
// for all of them, such as a listing. Where it has many members they are read
// together, at a time of their own, and not each just before somebody asks.
type Gathered interface {
	Batch
	Gathered()
}

// Undivided is a Batch that is one request with one answer for all members,
// such as a page: to read a member by itself would be the same request. It has
// all of the time, and its members wait for nobody else. It is Gathered, too.
type Undivided interface {
	Batch
	Undivided()
}

// Result is the outcome of one member of a batch: what its Read would have
// returned.
type Result struct {
	Readings []Reading
	Err      error
}

// Ringer is a Source that can be told by its backend that work arrived. A ring
// carries no truth: it only makes the sampler read at once. Lost, late,
// duplicated and forged rings are harmless.
type Ringer interface {
	Source
	// Listen calls ring whenever work may have arrived, until ctx ends; it
	// returns ctx's error then. It calls listening once it would hear the next
	// arrival, so that the sampler can read once more and miss nothing.
	//
	// Listen follows a completed Read, one that returned readings or ErrNoData:
	// there is one before the first call, and another one between two calls. So it
	// may rely on what Read has found out.
	//
	// It runs beside further Reads, at most once at a time, and only while a
	// subscription wants it that is idle (any, for a RingerAtWork). An error wrapping
	// ErrDoorbellRefused means that permission or feature is missing: the
	// question is polled, visibly, and Listen is tried again every 10 minutes.
	// After any other error it is tried again, ever later up to a minute, while
	// polling goes on.
	Listen(ctx context.Context, listening, ring func()) error
}

// RingerAtWork is a Ringer that is also heard while its subscriptions are at
// work, more seldom: a burst that finds a replica is noticed at once; or what it
// hears is an answer and no mere ring, and keeps a target from going to zero that
// the reading alone would put to rest. It costs little to listen to while much
// happens: rings that nobody answers with a Read need not come.
type RingerAtWork interface {
	Ringer
	RingsAtWork()
}

// ErrDoorbellRefused says that the backend does not let us listen; wrap it
// with the reason in words for the user.
var ErrDoorbellRefused = errors.New("doorbell refused")

// AskAgain is after how long Listen is tried again that was refused.
const AskAgain = 10 * time.Minute

// Timed is a Source that knows when its answer changes, such as a schedule.
type Timed interface {
	Source
	// Next is the first time after now at which Read may answer differently;
	// the sampler reads at that time as well as every interval.
	Next(now time.Time) time.Time
}

// Specced is a Source that names its metrics itself, such as an external
// scaler. Read returns readings in the order of the specs that Specs returned
// last.
type Specced interface {
	Source
	// Specs asks for the metrics. It is called before the first Read, after a
	// call of changed, and when a Read fails.
	Specs(ctx context.Context) ([]Metric, error)
	// WatchSpecs calls changed whenever Specs would return something else,
	// until ctx ends. It returns nil at once when the source cannot tell:
	// Specs is then called before every Read. After an error it is called
	// again, ever later up to a minute.
	WatchSpecs(ctx context.Context, changed func()) error
}
