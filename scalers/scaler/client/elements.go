package client

import (
	"bytes"
	"encoding/json"
	"errors"
)

var errNoList = errors.New("is not a list")

// EachElement decodes the elements of a list in JSON one after another, for
// those who do not need all of them at once: a list of millions takes many times
// the memory of its text. null is a list without elements.
func EachElement[T any](text []byte, use func(T)) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	switch open, err := decoder.Token(); {
	case err != nil:
		return err
	case open == nil:
		return nil
	case open != json.Delim('['):
		return errNoList
	}
	for decoder.More() {
		var element T
		if err := decoder.Decode(&element); err != nil {
			return err
		}
		use(element)
	}
	_, err := decoder.Token()
	return err
}
