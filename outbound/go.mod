module github.com/sluice-autoscaler/sluice/outbound

go 1.26.0
