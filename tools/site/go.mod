module github.com/sluice-autoscaler/sluice/tools/site

go 1.26.0

require (
	go.yaml.in/yaml/v3 v3.0.5
	golang.org/x/net v0.62.0
)
