package document

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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
	quotedName   = regexp.MustCompile(`^\s*("(?:[^"\\]|\\.)*")\s*(?:,|$)`)
	matcher      = regexp.MustCompile(`^\s*([a-zA-Z_][a-zA-Z0-9_]*|"(?:[^"\\]|\\.)*")\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*`)
)

// ParseSelector reads name{label="value",...}. Names that are not of letters,
// digits and underscores are quoted, and that of the metric is then within the
// braces: {"jobs.waiting","queue.name"="a"}.
func ParseSelector(text string) (Selector, error) {
	s := Selector{labels: map[string]string{}}
	rest := strings.TrimSpace(text)
	if found := selectorName.FindStringSubmatch(rest); found != nil {
		s.name, rest = found[1], rest[len(found[0]):]
		if rest == "" {
			return s, nil
		}
	}
	braces := strings.HasPrefix(rest, "{") && strings.HasSuffix(rest, "}") && len(rest) > 1
	if s.name != "" && !braces {
		return Selector{}, errors.New("has something else than {...} after the name")
	}
	if braces {
		rest = rest[1 : len(rest)-1]
	}
	if s.name == "" {
		found := quotedName.FindStringSubmatch(rest)
		if found == nil || !braces {
			return Selector{}, errNoMetric
		}
		rest = rest[len(found[0]):]
		if s.name, _ = strconv.Unquote(found[1]); s.name == "" {
			return Selector{}, errNoMetric
		}
	}
	if err := s.readLabels(rest); err != nil {
		return Selector{}, err
	}
	return s, nil
}

var errNoMetric = errors.New(`does not begin with the name of a metric, such as jobs_waiting{queue="a"}`)

// readLabels reads what stands within the braces.
func (s *Selector) readLabels(rest string) error {
	for strings.TrimSpace(rest) != "" {
		found := matcher.FindStringSubmatch(rest)
		if found == nil {
			return errors.New(`has labels that are not label="value" with commas between them`)
		}
		rest = rest[len(found[0]):]
		if rest != "" && !strings.HasPrefix(rest, ",") {
			return errors.New("lacks a comma between labels")
		}
		rest = strings.TrimPrefix(rest, ",")
		label, value, err := unquoted(found[1], found[3])
		if err != nil {
			return errors.New("has a value with a wrong escape")
		}
		if found[2] != "=" {
			s.Inexact = append(s.Inexact, strings.TrimSpace(found[0]))
		}
		s.labels[label] = value
	}
	return nil
}

// unquoted reads a label, which may be quoted, and its value, which is.
func unquoted(label, value string) (string, string, error) {
	var err error
	if strings.HasPrefix(label, `"`) {
		if label, err = strconv.Unquote(label); err != nil {
			return "", "", err
		}
	}
	value, err = unquote(value)
	return label, value, err
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

func parseScrape(text *pieces) (Document, error) {
	text.text = append(bytes.ReplaceAll(text.text, []byte("\r\n"), []byte("\n")), '\n')
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nil, notA("what Prometheus scrapes")
	}
	return scrape(families), nil
}

// Find implements Document: it returns the first sample that the selector
// names, of a counter, a gauge or a metric without a type.
func (s scrape) Find(ctx context.Context, place Place) (Value, error) {
	wanted, w := place.selector, begin(ctx)
	defer w.end()
	if !w.check() {
		return Value{}, w.err
	}
	for _, metric := range s[wanted.name].GetMetric() {
		if !w.look(weightOfKey * (1 + len(metric.GetLabel()))) {
			return Value{}, w.err
		}
		if value, ok := sample(metric); ok && wanted.matches(metric) {
			return Value{Float: value, path: place.text}, nil
		}
	}
	return Value{}, missing(place.text)
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
