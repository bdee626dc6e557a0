// Package alerts holds what Prometheus and Grafana are given against Prometheus'
// own parser and engine. It is a module of its own, so that nothing else links
// them.
package alerts
