// Package amqp has of the library what the tests use.
package amqp

func Dial(string) error { return nil }

func DialConfig(string) error { return nil }

func DefaultDial() any { return nil }

func Open(any) error { return nil }
