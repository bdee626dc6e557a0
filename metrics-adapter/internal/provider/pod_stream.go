package provider

import (
	"encoding/json"
	"errors"
	"io"
)

// seen is what one pod, or what stands in its place in a watch, says.
type seen struct {
	name, version string
	// ready is true of a pod that runs and is ready.
	ready bool
	// code and message are those of a Status.
	code    int
	message string
}

// podStream reads JSON of the API server value by value, and passes over all but
// four short texts of each pod: whoever may write pods decides how large they are,
// and how many come at once. Of it there is one value in memory.
type podStream struct{ *json.Decoder }

func newPodStream(r io.Reader) podStream { return podStream{json.NewDecoder(r)} }

// list calls each with every pod of a PodList, and returns the list's version.
// What ends before the list does is an error.
func (s podStream) list(each func(seen) error) (version string, err error) {
	err = s.object(func(key string) error {
		switch key {
		case "metadata":
			return s.object(func(key string) (err error) {
				if key == "resourceVersion" {
					version, err = s.text()
					return err
				}
				return s.skip()
			})
		case "items":
			return s.array(func() error {
				p, err := s.pod()
				if err != nil {
					return err
				}
				return each(p)
			})
		}
		return s.skip()
	})
	return version, whole(err)
}

// event reads the next event of a watch; io.EOF is its end, or that of the connection.
func (s podStream) event() (kind string, p seen, err error) {
	if !s.More() {
		return "", p, io.EOF
	}
	err = s.object(func(key string) (err error) {
		switch key {
		case "type":
			kind, err = s.text()
			return err
		case "object":
			p, err = s.pod()
			return err
		}
		return s.skip()
	})
	return kind, p, whole(err)
}

// whole makes an end within something an error.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// pod reads a Pod or a Status.
func (s podStream) pod() (p seen, err error) {
	phase, ready := "", false
	err = s.object(func(key string) (err error) {
		switch key {
		case "metadata":
			return s.object(func(key string) (err error) {
				switch key {
				case "name":
					p.name, err = s.text()
				case "resourceVersion":
					p.version, err = s.text()
				default:
					err = s.skip()
				}
				return err
			})
		case "status": // of a Status it is a word
			return s.object(func(key string) (err error) {
				switch key {
				case "phase":
					phase, err = s.text()
				case "conditions":
					err = s.array(func() error { return s.condition(&ready) })
				default:
					err = s.skip()
				}
				return err
			})
		case "code":
			p.code, err = s.number()
		case "message":
			p.message, err = s.text()
		default:
			err = s.skip()
		}
		return err
	})
	p.ready = ready && phase == "Running"
	return p, err
}

func (s podStream) condition(ready *bool) error {
	kind, status := "", ""
	err := s.object(func(key string) (err error) {
		switch key {
		case "type":
			kind, err = s.text()
		case "status":
			status, err = s.text()
		default:
			err = s.skip()
		}
		return err
	})
	if kind == "Ready" {
		*ready = status == "True"
	}
	return err
}

// object calls each with every key of an object, to read its value. What is no
// object is passed over.
func (s podStream) object(each func(key string) error) error {
	return s.within('{', func() error {
		key, err := s.text()
		if err != nil {
			return err
		}
		return each(key)
	})
}

// array calls each for every element of an array. What is no array is passed over.
func (s podStream) array(each func() error) error { return s.within('[', each) }

// within calls each until what begins with this delimiter ends.
func (s podStream) within(begin json.Delim, each func() error) error {
	token, err := s.Token()
	if err != nil {
		return err
	}
	if token != begin {
		return s.rest(token)
	}
	for s.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err = s.Token() // its end
	return err
}

// skip passes over one value, however deep it is.
func (s podStream) skip() error {
	token, err := s.Token()
	if err != nil {
		return err
	}
	return s.rest(token)
}

// rest passes over what a token began.
func (s podStream) rest(token json.Token) (err error) {
	for depth := 0; ; {
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		if token, err = s.Token(); err != nil {
			return err
		}
	}
}

// text is a string; what is none is passed over, and "".
func (s podStream) text() (string, error) {
	token, err := s.Token()
	if err != nil {
		return "", err
	}
	text, _ := token.(string)
	return text, s.rest(token)
}

// number is a whole number; what is none is passed over, and 0.
func (s podStream) number() (int, error) {
	token, err := s.Token()
	if err != nil {
		return 0, err
	}
	number, _ := token.(float64)
	return int(number), s.rest(token)
}
