// Package redis has of the library what the tests use.
package redis

func NewClient() any { return nil }

func NewUniversalClient() any { return nil }

func NewFailoverClusterClient() any { return nil }

func NewRing() any { return nil }

func NewScript() any { return nil }
