// Package mssql has of the library what the tests use.
package mssql

func NewConnectorConfig() any { return nil }

func NewSecurityTokenConnector() any { return nil }
