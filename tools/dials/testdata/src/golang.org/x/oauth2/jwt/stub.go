// Package jwt has of the library what the tests use.
package jwt

type Config struct{ TokenURL string }
