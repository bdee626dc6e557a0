package document

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Selector names one sample of a text that Prometheus scrapes.
type Selector struct {
	name   string
	labels map[string]string
	// Inexact are the matchers other than equality, as the user wrote them.
	// As in KEDA they are read as equality.
	Inexact []string
}

var (
	selectorName = regexp.MustCompile(`^\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*`)
	matcher      = regexp.MustCompile(`^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*`)
)

// ParseSelector reads name{label="value",...}.
func ParseSelector(text string) (Selector, error) {
	found := selectorName.FindStringSubmatch(text)
	if found == nil {
		return Selector{}, errors.New(`does not begin with the name of a metric, such as jobs_waiting{queue="a"}`)
	}
	s := Selector{name: found[1], labels: map[string]string{}}
	rest := strings.TrimSpace(text[len(found[0]):])
	if rest == "" {
		return s, nil
	}
	if !strings.HasPrefix(rest, "{") || !strings.HasSuffix(rest, "}") {
		return Selector{}, errors.New("has something else than {...} after the name")
	}
	rest = rest[1 : len(rest)-1]
	for strings.TrimSpace(rest) != "" {
		found := matcher.FindStringSubmatch(rest)
		if found == nil {
			return Selector{}, errors.New(`has labels that are not label="value" with commas between them`)
		}
		rest = rest[len(found[0]):]
		if rest != "" && !strings.HasPrefix(rest, ",") {
			return Selector{}, errors.New("lacks a comma between labels")
		}
		rest = strings.TrimPrefix(rest, ",")
		value, err := unquote(found[3])
		if err != nil {
			return Selector{}, errors.New("has a value with a wrong escape")
		}
		if found[2] != "=" {
			s.Inexact = append(s.Inexact, strings.TrimSpace(found[0]))
		}
		s.labels[found[1]] = value
	}
	return s, nil
}

// unquote reads a value in either quotes.
func unquote(quoted string) (string, error) {
	if quoted[0] == '\'' {
		inner := strings.ReplaceAll(quoted[1:len(quoted)-1], `\'`, `'`)
		quoted = `"` + strings.ReplaceAll(inner, `"`, `\"`) + `"`
	}
	return strconv.Unquote(quoted)
}

// scrape is what Prometheus scrapes, by the name of the metric.
type scrape map[string]*dto.MetricFamily

func parseScrape(text []byte) (Document, error) {
	text = append(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), '\n')
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, notA("what Prometheus scrapes")
	}
	return scrape(families), nil
}

// Find implements Document: it returns the first sample that the selector
// names, of a counter, a gauge or a metric without a type.
func (s scrape) Find(selector string) (Value, error) {
	wanted, err := ParseSelector(selector)
	if err != nil {
		return Value{}, words.Errorf(codes.InvalidArgument, "selector %v", err)
	}
	for _, metric := range s[wanted.name].GetMetric() {
		if value, ok := sample(metric); ok && wanted.matches(metric) {
			return Value{Float: value, path: selector}, nil
		}
	}
	return Value{}, missing(selector)
}

func sample(metric *dto.Metric) (float64, bool) {
	switch {
	case metric.GetUntyped() != nil:
		return metric.GetUntyped().GetValue(), true
	case metric.GetCounter() != nil:
		return metric.GetCounter().GetValue(), true
	case metric.GetGauge() != nil:
		return metric.GetGauge().GetValue(), true
	default:
		return 0, false
	}
}

func (s Selector) matches(metric *dto.Metric) bool {
	have := map[string]string{}
	for _, label := range metric.GetLabel() {
		have[label.GetName()] = label.GetValue()
	}
	for name, value := range s.labels {
		if got, found := have[name]; !found || got != value {
			return false
		}
	}
	return true
}
