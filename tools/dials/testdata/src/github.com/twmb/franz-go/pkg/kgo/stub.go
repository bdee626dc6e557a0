// Package kgo has of the library what the tests use.
package kgo

func NewClient() error { return nil }

func SeedBrokers() {}
