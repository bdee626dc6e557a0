package document

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// deepest is how deep elements may nest: far more than anybody writes, and far
// less than what a hostile answer would need to exhaust the stack.
const deepest = 100

// parseXML returns the outermost element's name and content: a text, or a map
// of the elements in it.
func parseXML(text io.Reader) (name string, content any, err error) {
	decoder := xml.NewDecoder(text)
	for {
		token, err := decoder.Token()
		if err != nil {
			return "", nil, err
		}
		if start, ok := token.(xml.StartElement); ok {
			content, err := parseElement(decoder, 1)
			if err != nil {
				return "", nil, err
			}
			return start.Name.Local, content, onlyElement(decoder)
		}
	}
}

// onlyElement reads to the end: a text that goes on after its element, or
// breaks off, is no document.
func onlyElement(decoder *xml.Decoder) error {
	for {
		token, err := decoder.Token()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if _, ok := token.(xml.StartElement); ok {
			return errors.New("a second element")
		}
	}
}

func parseElement(decoder *xml.Decoder, depth int) (any, error) {
	if depth > deepest {
		return nil, errors.New("nested too deep")
	}
	var text strings.Builder
	var inner map[string]any
	for {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.CharData:
			text.Write(token)
		case xml.StartElement:
			value, err := parseElement(decoder, depth+1)
			if err != nil {
				return nil, err
			}
			if inner == nil {
				inner = map[string]any{}
			}
			addElement(inner, token.Name.Local, value)
		case xml.EndElement:
			if inner != nil {
				return inner, nil
			}
			return strings.TrimSpace(text.String()), nil
		}
	}
}

// addElement makes a list of elements that share a name.
func addElement(inner map[string]any, name string, value any) {
	switch before := inner[name].(type) {
	case nil:
		inner[name] = value
	case []any:
		inner[name] = append(before, value)
	default:
		inner[name] = []any{before, value}
	}
}
