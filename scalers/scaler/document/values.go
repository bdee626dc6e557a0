package document

import (
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

const (
	// mostValues is how many values a text may have that a parser makes objects
	// of, and bytesPerValue how much memory such an object takes.
	mostValues    = 500_000
	bytesPerValue = 200
	// mostLabels is how many labels one line of what Prometheus scrapes may have:
	// the parser compares each with all.
	mostLabels = 100
)

// countValues looks over a text before its parser does. It counts what begins a
// value, in texts and comments, too: rather too many than too few.
func countValues(format string, text []byte) (values int, err error) {
	switch format {
	case "yaml":
		values = yamlValues(text)
	case "xml":
		values = xmlValues(text)
	case "prometheus":
		values, err = samples(text)
	}
	if err == nil && values > mostValues {
		err = words.Errorf(codes.FailedPrecondition, "the text has more than %d values", mostValues)
	}
	return values, err
}

// yamlValues has two for a key: it may come without a value, which is null. The
// parser keeps comments, too.
func yamlValues(text []byte) int {
	values := 1
	for i, c := range text {
		switch c {
		case ':', ',', '[', '{', '?', '#':
			values += 2
		case '-':
			if i+1 == len(text) || text[i+1] <= ' ' {
				values++
			}
		}
	}
	return values
}

// xmlValues are elements, of which each ends once more, and attributes.
func xmlValues(text []byte) int {
	values := 0
	for _, c := range text {
		if c == '<' || c == '=' {
			values++
		}
	}
	return values
}

// samples counts a line as four values, and each label as one.
func samples(text []byte) (values int, err error) {
	labels, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n': // ends a quoted text, too
			values += 4
			labels, quoted = 0, false
		case quoted && c == '\\' && i+1 < len(text) && text[i+1] != '\n':
			i++
		case c == '"':
			quoted = !quoted
		case c == '=' && !quoted:
			values++
			if labels++; labels > mostLabels {
				return 0, words.Errorf(codes.FailedPrecondition, "the text has a line with more than %d labels", mostLabels)
			}
		}
	}
	return values + 4, nil
}
