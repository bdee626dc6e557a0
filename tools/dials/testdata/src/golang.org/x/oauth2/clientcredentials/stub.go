// Package clientcredentials has of the library what the tests use.
package clientcredentials

type Config struct{ TokenURL string }
