// Package scaler is the library that every scaler family is built from. A
// family defines its trigger types and serves them:
//
//	var triggers = []scaler.Trigger{sqsQueue, kinesisStream}
//
//	err := scaler.Serve(ctx, "aws", triggers, scaler.WithCredentials(credentials.FromCluster))
//
// # What a trigger type is made of
//
// A trigger type is a params struct and a function that opens a Source, handed to
// [Define]:
//
//   - The params struct has a field for each parameter, whose tags and comment are
//     its documentation, and a Name (see [Named]) or Metrics (see [Metered]). Rules
//     across fields are its Validate.
//   - The Source has a Read, which asks the backend now. Where there is something
//     to close it is an io.Closer.
//
// All else is done here once for all families: parameters and their errors, when a
// source is read, sharing of sources and connections, activation, the gRPC
// services, health, metrics and shutdown. A source that can do more says so by
// further methods: [Batched] ones are read together, a [Ringer] hears of work as it
// arrives, a [Timed] one knows when its answer changes, and a [Specced] one names
// its metrics itself.
//
// A reading is exactly one of a value, no data ([ErrNoData]) and an error. Zero is a
// value: the source said that it is empty.
//
// # The packages
//
//	scaler            what a family author sees: the contract, Define, Serve
//	params            struct tags -> values, problems, description
//	client            connections that sources share, dialling, TLS, HTTP, OAuth,
//	                  doorbells heard for many at once, accounts of hosted services
//	document          values out of JSON, XML, YAML and Prometheus text
//	kube              objects of the cluster that a family watches
//	lending           to whom a family shows its own identity
//	credentials       a module of its own, for families that take some: Secrets,
//	                  stores, identities of clouds
//	scalertest        what every trigger type is held to, in tests
//
// and behind them:
//
//	internal/contract the types that families and library share, shown here
//	internal/trigger  a trigger of an object, understood: its binding
//	internal/sampling when a source is read, by itself, in a batch, for a doorbell or
//	                  before the HPA controller asks; the snapshots
//	internal/serving  the two gRPC services, subscriptions, logins, who may call
//	internal/budget   the memory of answers and of what is made of them;
//	                  internal/computing: whose turn it is at the processors
//	internal/pool     the connections of a process, who pays for them
//	internal/failure  what an error means: its code, and words without secrets
//	internal/metrics  what Prometheus is told; internal/tracing: what a collector is
//
// Imports point down: contract is below all, params and pool below sampling, and
// nothing but families and test kits imports this package.
package scaler
