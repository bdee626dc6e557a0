// Package otlptracehttp has of the library what the tests use.
package otlptracehttp

func New() error { return nil }
