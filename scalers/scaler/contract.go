package scaler

import (
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// What a family author writes for a trigger type. Each of the interfaces beside
// Source and Params is for those that need it.
type (
	// Params is the params struct of a trigger type, a Named or a Metered. Its tags
	// are described at package params.
	Params = contract.Params
	// Named is implemented by params with one metric, whose target and activation
	// threshold are the parameters that have these roles.
	Named = contract.Named
	// Metered is implemented by params that say themselves which metrics they have.
	Metered = contract.Metered
	// Warner is implemented by params that are valid and still may not do what the
	// user meant.
	Warner = contract.Warner
	// ReadTimeouter is implemented by params that say themselves how long a read
	// may take.
	ReadTimeouter = contract.ReadTimeouter
	// Missing is implemented by params that say what a reading without data
	// becomes, in place of the rule of the type.
	Missing = contract.Missing
	// Shaper is implemented by params whose metric depends on parameters that are
	// not part of the question, such as a cap at partitions × target.
	Shaper = contract.Shaper
	// Silent is implemented by params of a ringing type that know better than to
	// listen unasked, for example on a metered endpoint.
	Silent = contract.Silent

	// Source reads the demand behind one question: the backlog of a queue, the lag
	// of a consumer group, the result of a query. Every trigger that asks the same
	// question shares one Source, whatever its target. A Source may also be a
	// Batched, a Ringer, a Timed or a Specced. One that is an io.Closer is closed
	// once, after the last Read.
	Source = contract.Source
	// Batched is a Source that can be read together with others of the same
	// endpoint.
	Batched = contract.Batched
	// Ringer is a Source that can be told by its backend that work arrived. Its
	// Listen follows a completed Read, each time that it is called.
	Ringer = contract.Ringer
	// RingerAtWork is a Ringer that is also heard while its subscriptions are at
	// work.
	RingerAtWork = contract.RingerAtWork
	// Timed is a Source that knows when its answer changes, such as a schedule.
	Timed = contract.Timed
	// Specced is a Source that names its metrics itself, such as an external
	// scaler.
	Specced = contract.Specced

	// Batch reads many sources of one endpoint at once.
	Batch = contract.Batch
	// Gathered is a Batch whose request costs the source as much for one member as
	// for all of them, such as a listing.
	Gathered = contract.Gathered
	// Undivided is a Batch that is one request with one answer for all members,
	// such as a page.
	Undivided = contract.Undivided
)

// What a trigger type is told, and what it answers.
type (
	// Metric is what the autoscaler is told about one metric of a trigger: its
	// name, its target and its threshold of activation.
	Metric = contract.Metric
	// Reading is one observation of a metric, in the unit of its target.
	Reading = contract.Reading
	// Result is the outcome of one member of a batch: what its Read would have
	// returned.
	Result = contract.Result
	// Object is what a trigger may know about the object it belongs to. A params
	// struct that embeds it gets it filled in.
	Object = contract.Object
	// PodIdentity is the cloud identity that an authentication object asks for. A
	// params struct that embeds it gets it filled in.
	PodIdentity = contract.PodIdentity
	// MetricType is how a target is meant.
	MetricType = contract.MetricType
	// NoDataRule is what a reading without data becomes.
	NoDataRule = contract.NoDataRule
)

// Metric types, as in autoscaling/v2.
const (
	// AverageValue is a target per replica.
	AverageValue = contract.AverageValue
	// Value is a target for all replicas together.
	Value = contract.Value
)

// The rules for no data, as in the annotation sluice.dev/no-data, which chooses
// one for all triggers of an object.
const (
	// NoDataError makes it a failure. It is the default.
	NoDataError = contract.NoDataError
	// NoDataZero makes it the value 0.
	NoDataZero = contract.NoDataZero
	// NoDataHold keeps the value before it.
	NoDataHold = contract.NoDataHold
)

// Errors that mean something of their own.
var (
	// ErrNoData is returned by Read, alone or wrapped, when the backend answered
	// but has nothing to say: an empty query result, a series without points, NaN.
	// What it becomes is the trigger's documented rule, see OnNoData and Missing.
	ErrNoData = contract.ErrNoData
	// ErrPartial is an ErrNoData of a backend that warns that its answer may not
	// be complete. The user is told so even where no data is a value.
	ErrPartial = contract.ErrPartial
	// ErrDoorbellRefused says that the backend does not let us listen; wrap it
	// with the reason in words for the user.
	ErrDoorbellRefused = contract.ErrDoorbellRefused
)

// One is the reading of a trigger with one metric whose activity is its value.
func One(value float64) []Reading { return contract.One(value) }

// Open opens the source of a trigger. It is called by the sampler at the first
// reading; its failure is that reading's error.
type Open[P Params] = contract.Open[P]

// What the library and test kits hand to each other.
type (
	// Credentials is what the references of a trigger resolve to.
	Credentials = contract.Credentials
	// Reference names what a trigger's credentials are to be read from.
	Reference = contract.Reference
	// Resolver turns references into credentials under the family's own identity.
	Resolver = contract.Resolver
	// Bound is a trigger of one object after its parameters were understood.
	Bound = trigger.Binding
)
