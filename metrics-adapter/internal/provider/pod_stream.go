package provider

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// What the API server sends of pods is read byte by byte, and all but four short
// texts of each is passed over: whoever may write pods decides how large they are,
// and how many come at once. The longest text that is read is that of a Status.
// A decoder of encoding/json would keep the largest text that ever came, in each
// of hundreds of streams.
const longestText = 1 << 10

// seen is what one pod, or what stands in its place in a watch, says.
type seen struct {
	name, version string
	// ready is true of a pod that runs and is ready.
	ready bool
	// code and message are those of a Status.
	code    int
	message string
}

// podStream reads JSON of the API server.
type podStream struct {
	r *bufio.Reader
}

func newPodStream(r io.Reader) *podStream { return &podStream{bufio.NewReaderSize(r, 4<<10)} }

// list calls each with every pod of a PodList, and returns the list's version.
// What ends before the list does is an error.
func (s *podStream) list(each func(seen) error) (version string, err error) {
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

// event reads the next event of a watch; io.EOF is its end.
func (s *podStream) event() (kind string, p seen, err error) {
	if _, err := s.next(); err != nil {
		return "", p, err
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
func (s *podStream) pod() (p seen, err error) {
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

func (s *podStream) condition(ready *bool) error {
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

// next is the first byte of what comes, which is not taken yet.
func (s *podStream) next() (byte, error) {
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c, s.r.UnreadByte()
		}
	}
}

// take takes the next byte, which has to be this one.
func (s *podStream) take(want byte) error {
	c, err := s.next()
	if err != nil {
		return err
	}
	if c != want {
		return fmt.Errorf("JSON has %q in place of %q", c, want)
	}
	_, err = s.r.ReadByte()
	return err
}

// object calls each with every key of an object, to read its value. What is no
// object is passed over.
func (s *podStream) object(each func(key string) error) error {
	return s.elements('{', '}', func() error {
		key, err := s.text()
		if err != nil {
			return err
		}
		if err := s.take(':'); err != nil {
			return err
		}
		return each(key)
	})
}

// array calls each for every element of an array. What is no array is passed over.
func (s *podStream) array(each func() error) error { return s.elements('[', ']', each) }

func (s *podStream) elements(begin, end byte, each func() error) error {
	if c, err := s.next(); err != nil || c != begin {
		return s.other(err)
	}
	if err := s.take(begin); err != nil {
		return err
	}
	if c, err := s.next(); err == nil && c == end {
		return s.take(end)
	}
	for {
		if err := each(); err != nil {
			return err
		}
		c, err := s.next()
		switch {
		case err != nil:
			return err
		case c == ',':
			if err := s.take(','); err != nil {
				return err
			}
		default:
			return s.take(end)
		}
	}
}

// other passes over a value of another kind, unless there is none.
func (s *podStream) other(err error) error {
	if err != nil {
		return err
	}
	return s.skip()
}

// skip passes over one value, however large or deep it is.
func (s *podStream) skip() error {
	for depth := 0; ; {
		c, err := s.next()
		if err != nil {
			return err
		}
		switch c {
		case '"':
			_, err = s.string(0)
		case '{', '[':
			depth++
			err = s.take(c)
		case '}', ']', ',', ':':
			if depth == 0 {
				return fmt.Errorf("JSON has %q in place of a value", c)
			}
			if c == '}' || c == ']' {
				depth--
			}
			err = s.take(c)
		default:
			err = s.word(nil)
		}
		if err != nil || depth == 0 {
			return err
		}
	}
}

// word takes a number, true, false or null, of which it keeps what into has room
// for.
func (s *podStream) word(into *[]byte) error {
	for n := 0; ; n++ {
		c, err := s.r.ReadByte()
		switch {
		case err != nil:
			return err
		case c == '-' || c == '+' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == 'E':
			if into != nil && len(*into) < cap(*into) {
				*into = append(*into, c)
			}
		case n == 0:
			return fmt.Errorf("JSON has %q in place of a value", c)
		default:
			return s.r.UnreadByte()
		}
	}
}

func (s *podStream) number() (int, error) {
	if c, err := s.next(); err != nil || c == '"' || c == '{' || c == '[' {
		return 0, s.other(err)
	}
	text := make([]byte, 0, 16)
	if err := s.word(&text); err != nil {
		return 0, err
	}
	n, _ := strconv.Atoi(string(text)) // null and others are no number
	return n, nil
}

// text is a string, of one that is too long its beginning. What is no string is
// passed over, and "".
func (s *podStream) text() (string, error) {
	if c, err := s.next(); err != nil || c != '"' {
		return "", s.other(err)
	}
	raw, err := s.string(longestText)
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", err
	}
	return text, nil
}

// string takes a string and keeps so many bytes of it, as JSON.
func (s *podStream) string(most int) (raw []byte, err error) {
	if err := s.take('"'); err != nil {
		return nil, err
	}
	if most > 0 {
		raw = append(raw, '"')
	}
	for cut := most == 0; ; {
		c, err := s.r.ReadByte()
		switch {
		case err != nil:
			return nil, err
		case c == '"' && most == 0:
			return nil, nil
		case c == '"':
			return append(raw, '"'), nil
		case c == '\\':
			unit, err := s.escape()
			if err != nil {
				return nil, err
			}
			if cut = cut || len(raw)+len(unit) > most; !cut {
				raw = append(raw, unit...)
			}
		case !cut:
			if cut = len(raw) >= most; !cut {
				raw = append(raw, c)
			}
		}
	}
}

// escape is the rest of what a backslash began, with it.
func (s *podStream) escape() ([]byte, error) {
	c, err := s.r.ReadByte()
	if err != nil || c != 'u' {
		return []byte{'\\', c}, err
	}
	unit := []byte{'\\', 'u', 0, 0, 0, 0}
	_, err = io.ReadFull(s.r, unit[2:])
	return unit, err
}
