// Package servers runs real servers as child processes, as installed by
// install.sh: Apache Kafka, RabbitMQ, Redis (with Sentinel and Cluster),
// PostgreSQL, MariaDB, Prometheus, Moto for the APIs of AWS, Azurite for Azure
// Storage, and what stands in for Azure Event Hubs.
//
// Each server has free ports, a folder of its own and nobody else's
// configuration, so any number run side by side. It is handed over when it
// answers, and is killed with its children when the test ends, when Close is
// called, or when the process that started it dies. Its output goes to a file
// whose end is shown when the test fails.
//
//	kafka := servers.Kafka(t)                             // ends with the test
//	kafka := servers.SharedKafka(t)                       // ends with the test binary
//	kafka, err := servers.StartKafka(ctx, KafkaOptions{}) // ends with Close
//
// Kill, Stop (alive but silent), Continue and Restart (same ports, same data)
// bring about what a test wants to survive. Package fault breaks the network
// in between.
//
// A server that is not installed fails the test and never skips it. The
// package imports the standard library alone, so that a family that needs one
// server does not inherit the client of another.
package servers
