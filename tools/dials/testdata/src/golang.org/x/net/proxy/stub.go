// Package proxy has of the library what the tests use.
package proxy

func SOCKS5(string) error { return nil }
