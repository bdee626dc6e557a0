// Package grpc has of the library what the tests use.
package grpc

type ClientConn struct{}

func NewClient(string) (*ClientConn, error) { return nil, nil }

func DialContext(string) error { return nil }

func NewServer() {}
