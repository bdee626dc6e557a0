// Package sqs has of the library what the tests use.
package sqs

func New() any { return nil }

func NewFromConfig(any) any { return nil }
