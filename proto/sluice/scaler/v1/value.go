package scalerv1

import (
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// TextError says why a text is no value of a type. Where the text may be a
// secret only the reason is shown.
type TextError struct {
	// Text is what was given.
	Text string
	// Reason continues it to a sentence: "is not a number".
	Reason string
}

func (e TextError) Error() string { return fmt.Sprintf("%q %s", e.Text, e.Reason) }

// Numbers are those of JSON: no sign but a minus, no leading zeros, no hex.
var (
	jsonInteger = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	jsonNumber  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
)

// ParseInteger reads a VALUE_TYPE_INTEGER that fits into bits.
func ParseInteger(text string, bits int) (int64, error) {
	if !jsonInteger.MatchString(text) {
		return 0, TextError{text, "is not an integer"}
	}
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return 0, TextError{text, "is out of range"}
	}
	return n, nil
}

// ParseFloat reads a VALUE_TYPE_FLOAT; the result is finite.
func ParseFloat(text string) (float64, error) {
	if !jsonNumber.MatchString(text) {
		return 0, TextError{text, "is not a number"}
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, TextError{text, "is out of range"}
	}
	return x, nil
}

// ParseBool reads a VALUE_TYPE_BOOL: 1 t T TRUE true True 0 f F FALSE false
// False.
func ParseBool(text string) (bool, error) {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, TextError{text, "is neither true nor false"}
	}
	return b, nil
}

// ParseDuration reads a VALUE_TYPE_DURATION: a Go duration, or an integer
// number of milliseconds. A bare number is never seconds, as in KEDA. The
// result is not negative.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		if !jsonInteger.MatchString(text) {
			return 0, TextError{text, "is neither a duration such as 30s nor a number of milliseconds"}
		}
		ms, err := strconv.ParseInt(text, 10, 64)
		if limit := int64(math.MaxInt64 / time.Millisecond); err != nil || ms > limit || ms < -limit {
			return 0, TextError{text, "is out of range"}
		}
		d = time.Duration(ms) * time.Millisecond
	}
	if d < 0 || strings.HasPrefix(text, "-") && d != 0 {
		return 0, TextError{text, "is negative"}
	}
	return d, nil
}

// ParseQuery reads a VALUE_TYPE_QUERY.
func ParseQuery(text string) (url.Values, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, TextError{text, "is not a URL query"}
	}
	return values, nil
}

// CheckQuantity refuses texts that are too long a work for whoever parses them
// as a Kubernetes quantity: the parser writes an exponent out, digit by digit.
func CheckQuantity(text string) error {
	if len(text) > longestQuantity || hugeExponent.MatchString(text) {
		return TextError{shortened(text), "is out of range"}
	}
	return nil
}

const longestQuantity = 64

// hugeExponent is one beyond what a float has.
var hugeExponent = regexp.MustCompile(`[eE][-+]?[0-9]{4,}$`)

func shortened(text string) string {
	if len(text) > longestQuantity {
		return strings.ToValidUTF8(text[:longestQuantity], "") + "..."
	}
	return text
}
