// Package pgx has of the library what the tests use.
package pgx

func Connect(string) error { return nil }

func ConnectConfig(any) error { return nil }
