// Package scaling holds the decisions: when a workload leaves zero and to what
// size, when it goes back, what replaces a failing metric, what a formula comes
// to.
//
// Everything is a function of its arguments: no I/O, no Kubernetes client, no
// clock but the one passed in. The same inputs give the same decision, so
// every decision can be tested by property and replayed.
//
// Unknown is never zero. An error, a missing or a stale reading, or one without
// data, keeps the replicas as they are.
package scaling
