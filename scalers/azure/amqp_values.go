package main

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// mostNested is how deep values of a server may lie in each other. The library goes
// down by calling itself, and takes memory for as many elements as a list announces:
// each in the next, that would be for the square of what came.
const mostNested = 12

// values follows values of AMQP, one after the other, as their bytes come.
//
// Source: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html, 1.2
type values struct {
	at, most int64 // bytes that came, and that may
	skip     int64 // of them, what is left of the value under way
	head     [10]byte
	filled   int
	levels   [mostNested]nested
	depth    int
}

// nested is a list, map or array, or a value with its descriptor.
type nested struct {
	count   int64 // of values in it that have not ended
	end     int64 // where it has to end at the latest
	exact   bool  // or at once with the last one
	element byte  // the constructor of all of an array; 0 where each has its own
}

var errNoValue = errors.New("the server sent what is no value of AMQP")

// between is true after a value and before the next.
func (v *values) between() bool { return v.depth == 0 && v.filled == 0 && v.skip == 0 }

// room is where the value under way has to end, so that those that come after it have
// a byte each.
func (v *values) room() int64 {
	if v.depth == 0 {
		return v.most
	}
	in := &v.levels[v.depth-1]
	return in.end - in.count + 1
}

// take follows p to the end of one value, or of p.
func (v *values) take(p []byte) (n int, ended bool, err error) {
	for n < len(p) && !ended {
		var whole bool
		if v.skip > 0 {
			some := min(v.skip, int64(len(p)-n))
			v.skip -= some
			v.at += some
			n += int(some)
			whole = v.skip == 0
		} else {
			v.head[v.filled] = p[n]
			v.filled++
			v.at++
			n++
			if whole, err = v.begin(); err != nil {
				return n, false, err
			}
		}
		if !whole {
			continue
		}
		if ended, err = v.end(); err != nil {
			return n, false, err
		}
	}
	return n, ended, nil
}

// begin looks at what came of the head of a value. whole is true for a value that is
// nothing else.
func (v *values) begin() (whole bool, err error) {
	code, head := v.head[0], v.head[1:v.filled]
	if v.depth > 0 && v.levels[v.depth-1].element != 0 {
		code, head = v.levels[v.depth-1].element, v.head[:v.filled]
	}
	if code == 0 { // a descriptor, and what it describes
		return false, v.down(nested{count: 2, end: v.room()})
	}
	size, known := number(code, head, 0)
	switch kind := code >> 4; kind { // which tells the width
	case 0x4, 0x5, 0x6, 0x7, 0x8, 0x9:
		return v.pass(width(code))
	case 0xa, 0xb:
		if !known {
			return false, nil
		}
		return v.pass(size)
	case 0xc, 0xd, 0xe, 0xf:
		count, known := number(code, head, 1)
		if !known {
			return false, nil
		}
		in := nested{count: count, exact: true}
		in.end = v.at - lengthOf(code) + size
		if kind >= 0xe {
			if len(head) == 2*int(lengthOf(code)) {
				return false, nil // the constructor follows
			}
			in.end--
			in.element = head[len(head)-1]
			switch of := in.element >> 4; {
			case of < 0x4 || of > 0xb: // the library knows none of those but of maps, which nobody sends
				return false, errNoValue
			case of <= 0x9 && (in.end-v.at < count || in.end-v.at != count*width(in.element)):
				return false, errNoValue
			case of <= 0x9:
				return v.pass(in.end - v.at)
			}
		}
		if in.end > v.room() || in.end-v.at < count {
			return false, errNoValue
		}
		if count == 0 {
			if in.end != v.at {
				return false, errNoValue
			}
			v.filled = 0
			return true, nil
		}
		return false, v.down(in)
	}
	return false, errNoValue
}

// width is how many bytes a value of a fixed width has.
func width(code byte) int64 {
	if code>>4 == 0x4 {
		return 0
	}
	return 1 << (code>>4 - 5)
}

// lengthOf is how many bytes the lengths and counts of a constructor have.
func lengthOf(code byte) int64 {
	if code>>4&1 == 0 {
		return 1
	}
	return 4
}

// number is the first or second of them, once it has come.
func number(code byte, head []byte, which int64) (n int64, known bool) {
	size := lengthOf(code)
	if int64(len(head)) < (which+1)*size {
		return 0, false
	}
	for _, b := range head[which*size : (which+1)*size] {
		n = n<<8 | int64(b)
	}
	return n, true
}

// pass has the rest of a value passed by.
func (v *values) pass(n int64) (whole bool, err error) {
	if v.at+n > v.room() {
		return false, errNoValue
	}
	v.filled, v.skip = 0, n
	return n == 0, nil
}

func (v *values) down(in nested) error {
	if v.depth == mostNested {
		return fmt.Errorf("the server sent values %d deep in each other", mostNested+1)
	}
	v.levels[v.depth] = in
	v.depth++
	v.filled = 0
	return nil
}

// end is told that a value is whole, and whether it is in no other.
func (v *values) end() (all bool, err error) {
	for v.depth > 0 {
		in := &v.levels[v.depth-1]
		if in.count--; in.count > 0 {
			return false, nil
		}
		if in.exact && v.at != in.end {
			return false, errNoValue
		}
		v.depth--
	}
	return true, nil
}

// content follows the frames of a connection, and the messages that lie in them.
type content struct {
	most     int64 // bytes of one message
	frame    values
	begun    []byte // of the frame, as far as it tells of a message
	payload  *values
	more     bool // another frame of the message follows
	link     uint64
	messages map[uint64]*values // that have begun, by channel and handle
}

// mostBegunMessages is how many of several frames are under way.
const mostBegunMessages = 256

// mostBegun is how much of a frame tells whose message is in it. A delivery is told
// apart by 32 bytes at most.
const mostBegun = 96

// begin is for a frame of so many bytes after its header.
func (c *content) begin(header []byte, size int64) error {
	if header[4] != 2 {
		return errNoValue // the body begins elsewhere: nobody does that
	}
	c.frame, c.begun, c.payload = values{most: size}, append(c.begun[:0], header[5:8]...), nil
	return nil
}

// take is for what comes of it.
func (c *content) take(p []byte) error {
	for len(p) > 0 {
		if c.payload != nil {
			n, _, err := c.payload.take(p)
			if err != nil {
				return err
			}
			p = p[n:]
			continue
		}
		n, ended, err := c.frame.take(p)
		if err != nil {
			return err
		}
		c.begun = append(c.begun, p[:min(n, mostBegun-len(c.begun))]...)
		p = p[n:]
		if ended {
			if err := c.open(); err != nil {
				return err
			}
		}
	}
	return nil
}

// transfer is what a frame with a message begins with: of AMQP, on any channel.
const transfer = 0x14

// open is for what comes after the values of the frame itself.
func (c *content) open() error {
	if len(c.begun) < 6 || c.begun[0] != 0 || string(c.begun[3:5]) != "\x00\x53" || c.begun[5] != transfer {
		c.frame.most = 0 // nothing
		c.payload, c.more, c.link = &c.frame, false, 0
		return nil
	}
	handle, more, err := delivery(c.begun[6:])
	if err != nil {
		return err
	}
	c.link, c.more = uint64(binary.BigEndian.Uint16(c.begun[1:3]))<<32|uint64(handle), more
	if c.payload = c.messages[c.link]; c.payload == nil {
		c.payload = &values{most: c.most}
	}
	return nil
}

// delivery reads the fields of a transfer.
func delivery(list []byte) (handle uint32, more bool, err error) {
	if len(list) == 0 || list[0] != 0xc0 && list[0] != 0xd0 {
		return 0, false, errNoValue
	}
	count, known := number(list[0], list[1:], 1)
	if !known {
		return 0, false, errNoValue
	}
	list = list[1+2*lengthOf(list[0]):]
	for field := range min(count, 6) {
		if len(list) == 0 {
			return 0, false, errNoValue
		}
		code := list[0]
		list = list[1:]
		var size int64
		switch kind := code >> 4; {
		case kind >= 0x4 && kind <= 0x9:
			size = width(code)
		case kind == 0xa || kind == 0xb:
			length, known := number(code, list, 0)
			if !known {
				return 0, false, errNoValue
			}
			size = lengthOf(code) + length
		default:
			return 0, false, errNoValue
		}
		if size > int64(len(list)) {
			return 0, false, errNoValue
		}
		value := list[:size]
		switch field {
		case 0:
			for _, b := range value {
				handle = handle<<8 | uint32(b)
			}
		case 5:
			more = code == 0x41 || code == 0x56 && value[0] != 0
		}
		list = list[size:]
	}
	return handle, more, nil
}

// end is for the end of a frame.
func (c *content) end() error {
	switch {
	case c.payload == nil:
		return errNoValue
	case c.payload == &c.frame:
		if c.frame.filled > 0 {
			return errNoValue
		}
	case c.more:
		if c.messages == nil {
			c.messages = map[uint64]*values{}
		}
		if len(c.messages) == mostBegunMessages {
			return errors.New("the server has too many messages under way")
		}
		c.messages[c.link] = c.payload
	case !c.payload.between():
		return errNoValue
	default:
		delete(c.messages, c.link)
	}
	return nil
}
