// Package websocket has of the library what the tests use.
package websocket

func Dial(string) error { return nil }
