// Package monitoring has of the library what the tests use.
package monitoring

func NewMetricClient() error { return nil }
