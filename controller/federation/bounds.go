package federation

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// What a family may say. All of it is kept, for each of thousands of triggers, or
// gone through for each of them while everybody waits; and a family that was
// taken over says anything.
const (
	// mostOfDescription is what a description may have, in bytes, and mostKeys how
	// many spellings the parameters of one type may have.
	mostOfDescription = 256 << 10
	mostKeys          = 500
	// mostMetrics and mostOfNames are of the metrics of one trigger.
	mostMetrics = 100
	mostOfNames = 4 << 10
	// mostOfWarnings is what all warnings about one trigger may have.
	mostOfWarnings = 1 << 10
	// mostOfTrace is more than a W3C trace context has.
	mostOfTrace = 64
	// mostProblems is how many are told of one trigger when it is checked.
	mostProblems = 100
)

// checkDescription refuses a description that is too large to be one.
func checkDescription(d *scalerv1.DescribeResponse) error {
	if n := proto.Size(d); n > mostOfDescription {
		return coded(codes.FailedPrecondition, "its description has %d bytes, more than %d", n, mostOfDescription)
	}
	for _, t := range d.GetTriggerTypes() {
		keys := 0
		for _, p := range t.GetParameters() {
			keys += 1 + len(p.GetAliases())
		}
		if keys > mostKeys {
			return coded(codes.FailedPrecondition, "its description of type %.64s has %d keys, more than %d", t.GetType(), keys, mostKeys)
		}
	}
	return nil
}

// checkMetrics refuses metrics that are too many to be those of one trigger.
func checkMetrics[M interface{ GetMetricName() string }](metrics []M) error {
	if len(metrics) > mostMetrics {
		return coded(codes.Internal, "the family names %d metrics, more than %d", len(metrics), mostMetrics)
	}
	bytes := 0
	for _, m := range metrics {
		bytes += len(m.GetMetricName())
	}
	if bytes > mostOfNames {
		return coded(codes.Internal, "the family names metrics by more than %d bytes together", mostOfNames)
	}
	return nil
}

// costOfText is what a text takes beside its bytes: an empty one is not free.
const costOfText = 32

// warningsOf are those that there is room for.
func warningsOf(said []string) []string {
	bytes := 0
	for i, text := range said {
		text = externalscaler.Message(text)
		if bytes += len(text) + costOfText; bytes > mostOfWarnings {
			return append(said[:i:i], fmt.Sprintf("... (%d more)", len(said)-i))
		}
		said[i] = text
	}
	return said
}

// traceOf is a trace context, "" for what is too long to be one.
func traceOf(said string) string {
	if len(said) > mostOfTrace {
		return ""
	}
	return said
}

// problemsOf are those that are told.
func problemsOf(said []string) []string {
	said = said[:min(len(said), mostProblems)]
	for i := range said {
		said[i] = externalscaler.Message(said[i])
	}
	return said
}
