package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

var (
	errLong = fmt.Errorf("the review has more than %d bytes", longestReview)
	errLate = fmt.Errorf("the review did not arrive within %v", bodyTime)
	errDeep = fmt.Errorf("the review is nested deeper than %d", deepestReview)
	errJSON = errors.New("the review is no object of JSON")
	errMany = fmt.Errorf("the review has more than %d values", mostValues)
)

// readReview reads a body whole, within its time, and refuses one that would
// become large once it is decoded; there is the beginning of that, too.
func readReview(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(bodyTime)) // only what is no connection has none
	whole := http.MaxBytesReader(w, r.Body, longestRead)
	text, err := io.ReadAll(io.LimitReader(whole, longestReview+1))
	if err == nil && len(text) > longestReview {
		text = bytes.Clone(text[:4<<10])
		if _, err = io.Copy(io.Discard, whole); err == nil {
			err = errLong
		}
	}
	var long *http.MaxBytesError
	switch {
	case errors.Is(err, errLong), errors.As(err, &long):
		return text, errLong
	case err != nil:
		return nil, errLate
	}
	_ = connection.SetReadDeadline(time.Time{}) // judging it takes the time that it takes
	if err := checkShape(text); err != nil {
		return text, err
	}
	// The decoder takes what does not look like JSON for YAML, whose aliases make
	// much of little.
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) || !json.Valid(text) {
		return nil, errJSON
	}
	return text, nil
}

// checkShape counts what a text of JSON has, without decoding it.
func checkShape(text []byte) error {
	depth, values, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
			values++
		case c == '}', c == ']':
			depth--
		case c == ',':
			values++
		}
		if depth > deepestReview {
			return errDeep
		}
		if values > mostValues {
			return errMany
		}
	}
	return nil
}
