package main

import (
	"encoding/binary"
	"errors"
	"strconv"
	"unicode/utf16"

	mssql "github.com/microsoft/go-mssqldb"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// longestValue is that of a value without a length of its own in its type, in
// bytes.
const longestValue = 64 << 10

// errTokens is about what SQL Server never says, or not to who asks for one
// number.
var errTokens = errors.New("the answer is none of SQL Server to a query for one number")

// mostParts are the pieces of a value, or what a server grants at a login.
const mostParts = 256

// errNoNumberType is about types without a bound, or of no number.
var errNoNumberType = scaler.Errorf(codes.FailedPrecondition, "query: returns a text, image, xml or other type that is no number; CAST makes it one")

// tokens checks those of which the answers of SQL Server are made, before the
// driver makes room for what they announce. It takes them apart as the driver
// does: where the two could disagree about where a token ends, it refuses.
//
// Source: https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/67b6113c-d722-46d1-902c-3f6e8de09173
type tokens struct {
	prelogin               bool   // the answer is to the prelogin, which has no tokens
	head                   []byte // of the packet that comes
	body                   int    // bytes of it that are to come
	last                   bool   // it ends the answer
	ended                  bool   // the last token has been there
	held                   []byte // what came of the token that comes
	need                   int    // bytes of it without which it is not looked at again
	column                 *valueType
	acknowledged, loggedIn bool         // the login, in this answer and in one before
	told                   int          // tokens that the driver hands on, of the login or since an error
	failure                *mssql.Error // the answer's first
}

// mostTold are tokens that the driver hands on without anybody who takes them:
// it gives up on a login, and on a query at its first error, and those behind
// would have it wait for good.
const mostTold = 5

func newTokens() *tokens { return &tokens{prelogin: true} }

// Check implements client.Checker.
func (t *tokens) Check(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), max(t.body, headerOfPacket-len(t.head)))
		if len(t.head) < headerOfPacket {
			n = min(len(p), headerOfPacket-len(t.head))
			t.head = append(t.head, p[:n]...)
			if err := t.begin(); err != nil {
				return err
			}
		} else {
			t.body -= n
			if err := t.take(p[:n]); err != nil {
				return err
			}
		}
		p = p[n:]
		if len(t.head) == headerOfPacket && t.body == 0 {
			if err := t.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin looks at a head that may be whole.
func (t *tokens) begin() error {
	if len(t.head) < headerOfPacket {
		return nil
	}
	length := int(binary.BigEndian.Uint16(t.head[2:]))
	if length < headerOfPacket || length > longestPacket || t.head[0] != packetOfAnswer {
		return errTokens
	}
	t.body, t.last = length-headerOfPacket, t.head[1] != 0
	return nil
}

// end is that of a packet.
func (t *tokens) end() error {
	t.head = t.head[:0]
	if !t.last {
		return nil
	}
	if !t.prelogin && (!t.ended || len(t.held) > 0) {
		return errTokens
	}
	t.prelogin, t.ended, t.column, t.told, t.failure = false, false, nil, 0, nil
	t.loggedIn = t.loggedIn || t.acknowledged
	return nil
}

// take passes over tokens that are whole.
func (t *tokens) take(p []byte) error {
	if t.prelogin {
		return nil
	}
	t.held = append(t.held, p...)
	for len(t.held) > 0 && len(t.held) >= t.need {
		if t.ended {
			return errTokens
		}
		s := &scan{from: t.held}
		if err := t.token(s); err != nil {
			return err
		}
		if s.short {
			t.need = s.need
			break
		}
		if err := t.handsOn(t.held[0]); err != nil {
			return err
		}
		t.held, t.need = t.held[s.at:], 0
	}
	return nil
}

// handsOn counts a token that the driver hands on.
func (t *tokens) handsOn(kind byte) error {
	switch kind {
	case tokenOfTable, tokenOfInfoOnColumns, tokenOfInfo, tokenOfError, tokenOfChange:
		return nil
	case tokenOfLogin:
		t.acknowledged = true
	}
	if t.loggedIn && t.failure == nil {
		return nil
	}
	if t.told++; t.told <= mostTold {
		return nil
	}
	if t.failure != nil {
		return *t.failure
	}
	return errTokens
}

const (
	tokenOfStatus, tokenOfColumns, tokenOfTable, tokenOfInfoOnColumns, tokenOfOrder = 0x79, 0x81, 0xa4, 0xa5, 0xa9
	tokenOfError, tokenOfInfo, tokenOfLogin, tokenOfFeatures                        = 0xaa, 0xab, 0xad, 0xae
	tokenOfRow, tokenOfRowWithNulls, tokenOfChange, tokenOfExchange                 = 0xd1, 0xd2, 0xe3, 0xed
	tokenOfDone, tokenOfProcedure, tokenOfStatement                                 = 0xfd, 0xfe, 0xff
)

// token passes over one, or finds that it is not whole.
func (t *tokens) token(s *scan) error {
	switch s.byte() {
	case tokenOfStatus:
		s.skip(4)
	case tokenOfTable, tokenOfInfoOnColumns, tokenOfLogin:
		s.skip(s.short16())
	case tokenOfOrder:
		length := s.short16()
		s.skip(length)
		return s.unless(length%2 == 0)
	case tokenOfError:
		number, err := s.message()
		if err == nil && !s.short && t.failure == nil {
			t.failure = &mssql.Error{Number: number}
		}
		return err
	case tokenOfInfo:
		_, err := s.message()
		return err
	case tokenOfExchange:
		s.skip(s.short16())
		t.ended = !s.short
	case tokenOfFeatures:
		return s.features()
	case tokenOfChange:
		return s.changes(s.short16())
	case tokenOfColumns:
		return t.columns(s)
	case tokenOfRow:
		return t.row(s)
	case tokenOfRowWithNulls:
		if t.column == nil {
			return nil
		}
		if nulls := s.byte(); nulls&1 != 0 {
			return nil
		}
		return t.row(s)
	case tokenOfDone, tokenOfProcedure, tokenOfStatement:
		const more, serverError = 1, 0x100
		status := s.short16()
		s.skip(10)
		t.ended = !s.short && (status&more == 0 || status&serverError != 0)
	default:
		return errTokens
	}
	return nil
}

// columns takes the description of one column, and refuses another number.
func (t *tokens) columns(s *scan) error {
	const none = 0xffff
	t.column = nil
	switch count := s.short16(); {
	case s.short || count == none:
		return nil
	case count != 1:
		return columnsError(count)
	}
	s.skip(6) // kind and flags of the column
	column, err := s.valueType()
	s.wide(int(s.byte()))
	if err == nil && !s.short {
		t.column = &column
	}
	return err
}

// row passes over the value of one, which there is none of without a column.
func (t *tokens) row(s *scan) error {
	if t.column == nil {
		return nil
	}
	return s.value(*t.column)
}

// valueType is how the values of a column are told.
type valueType struct {
	form  form
	width int // of values that are all as long
}

type form int

const (
	fixed     form = iota // without a length
	byByte                // behind a length of one byte
	byShort               // of two
	inPieces              // of eight, and then pieces
	ofVariant             // of four, with a type of its own
)

// Types of values.
//
// Source: https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/ce3183a6-9d89-47e8-a02f-de5a1a1303de
var fixedTypes = map[byte]int{
	0x1f: 0, 0x30: 1, 0x32: 1, 0x34: 2, 0x38: 4, 0x3a: 4, 0x3b: 4, 0x7a: 4, 0x3c: 8, 0x3d: 8, 0x3e: 8, 0x7f: 8,
}

// valueType is that of a column.
func (s *scan) valueType() (valueType, error) {
	const unlimited = 0xffff
	kind := s.byte()
	if width, known := fixedTypes[kind]; known {
		return valueType{fixed, width}, nil
	}
	switch kind {
	case 0x28: // date
		return valueType{form: byByte}, nil
	case 0x29, 0x2a, 0x2b, 0x24, 0x26, 0x68, 0x6d, 0x6e, 0x6f, 0x2f, 0x27, 0x2d, 0x25: // times with a scale; others with a size
		s.skip(1)
		return valueType{form: byByte}, nil
	case 0x37, 0x3f, 0x6a, 0x6c: // decimals: size, precision, scale
		s.skip(3)
		return valueType{form: byByte}, nil
	case 0xa5, 0xad, 0xa7, 0xaf, 0xe7, 0xef: // bytes; texts with a collation
		size := s.short16()
		if kind != 0xa5 && kind != 0xad {
			s.skip(5)
		}
		if size == unlimited {
			return valueType{form: inPieces}, nil
		}
		return valueType{form: byShort}, nil
	case 0x62:
		s.skip(4)
		return valueType{form: ofVariant}, nil
	}
	if s.short {
		return valueType{}, nil
	}
	return valueType{}, errNoNumberType
}

// value passes over one.
func (s *scan) value(t valueType) error {
	const null = 0xffff
	switch t.form {
	case fixed:
		s.skip(t.width)
	case byByte:
		s.skip(int(s.byte()))
	case byShort:
		if length := s.short16(); length != null {
			s.skip(length)
		}
	case inPieces:
		return s.pieces()
	case ofVariant:
		return s.variant()
	}
	return nil
}

// pieces passes over a value that comes in them.
func (s *scan) pieces() error {
	const null, unknown = 1<<64 - 1, 1<<64 - 2
	length := s.long64()
	if s.short || length == null {
		return nil
	}
	if length != unknown && length > longestValue {
		return errTooLong
	}
	for pieces, whole := 0, 0; ; pieces++ {
		piece := int(s.int32())
		if s.short || piece == 0 {
			return nil
		}
		if whole += piece; whole > longestValue || pieces > mostParts {
			return errTooLong
		}
		s.skip(piece)
	}
}

// variants are the types that a value of any type may have: how many bytes
// describe it, and how long it is where that is fixed.
var variants = map[byte]struct{ properties, width int }{
	0x24: {0, 16}, 0x32: {0, 1}, 0x30: {0, 1}, 0x34: {0, 2}, 0x38: {0, 4}, 0x7f: {0, 8}, 0x3d: {0, 8}, 0x3a: {0, 4}, 0x3b: {0, 4}, 0x3e: {0, 8},
	0x7a: {0, 4}, 0x3c: {0, 8}, 0x28: {0, 3}, 0x29: {1, 0}, 0x2a: {1, 0}, 0x2b: {1, 0}, 0xa5: {2, 0}, 0xad: {2, 0}, 0x6a: {2, 0}, 0x6c: {2, 0},
	0xa7: {7, 0}, 0xaf: {7, 0}, 0xe7: {7, 0}, 0xef: {7, 0},
}

// variant passes over a value of any type.
func (s *scan) variant() error {
	length := int(s.int32())
	if s.short || length == 0 {
		return nil
	}
	kind, properties := s.byte(), int(s.byte())
	v, known := variants[kind]
	width := length - 2 - properties
	if s.short {
		return nil
	}
	if !known || properties != v.properties || width < 0 || width > longestValue || v.width > 0 && width != v.width {
		return errTokens
	}
	s.skip(properties + width)
	return nil
}

// message passes over an error or a notice, whose length has to be that of its
// parts: the driver goes by those.
func (s *scan) message() (number int32, err error) {
	length := s.short16()
	from := s.at
	number = int32(s.int32()) //nolint:gosec // it has a sign
	s.skip(2)
	s.wide(s.short16())
	s.wide(int(s.byte()))
	s.wide(int(s.byte()))
	s.skip(4)
	return number, s.unless(s.at-from == length)
}

// features passes over what the server grants of what the login has asked for,
// which is nothing but a login by token.
func (s *scan) features() error {
	const end, encryption, most = 0xff, 4, 4096
	for range mostParts {
		feature := s.byte()
		if s.short || feature == end {
			return nil
		}
		length := int(s.int32())
		if !s.short && (feature == encryption || length > most) {
			return errTokens
		}
		s.skip(length)
	}
	return errTokens
}

// changes passes over changes of the session, of so many bytes. They have to be
// known ones, which end where they say: behind others the driver goes on in their
// midst. It does so as soon as it sees one, so that they are not waited for.
func (s *scan) changes(length int) error {
	end := s.at + length
	for !s.short && s.at < end {
		err := s.change()
		if err == nil && (s.at > end || s.short && s.need > end) {
			err = errTokens
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) change() error {
	switch s.byte() {
	case 4:
		size, err := strconv.Atoi(text16(s.take(2 * int(s.byte()))))
		if err != nil || size < 512 || size > longestPacket {
			return s.unless(false)
		}
		s.wide(int(s.byte()))
	case 7:
		s.skip(int(s.byte()))
		s.wide(int(s.byte()))
	case 8, 9, 10:
		s.skip(int(s.byte()))
		s.skip(int(s.byte()))
	case 20:
		s.skip(5) // length, protocol and port
		s.wide(s.short16())
		s.skip(2)
	case 1, 2, 3, 5, 6, 11, 12, 13, 15, 16, 17, 18, 19:
		s.wide(int(s.byte()))
		s.wide(int(s.byte()))
	default:
		return s.unless(false)
	}
	return nil
}

// text16 is a text of two bytes a character.
func text16(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// scan passes over bytes, until there are too few.
type scan struct {
	from  []byte
	at    int
	short bool // there were too few; what was read since is nothing
	need  int  // how many it takes to go on
}

// take are the next n bytes.
func (s *scan) take(n int) []byte {
	if s.short {
		return nil
	}
	if n > len(s.from)-s.at {
		s.short, s.need = true, s.at+n
		return nil
	}
	s.at += n
	return s.from[s.at-n : s.at]
}

func (s *scan) skip(n int) { s.take(n) }

// wide passes over n characters of two bytes.
func (s *scan) wide(n int) { s.take(2 * n) }

func (s *scan) byte() byte {
	if b := s.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (s *scan) short16() int {
	if b := s.take(2); b != nil {
		return int(binary.LittleEndian.Uint16(b))
	}
	return 0
}

func (s *scan) int32() uint32 {
	if b := s.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (s *scan) long64() uint64 {
	if b := s.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// unless refuses what is whole and not well.
func (s *scan) unless(well bool) error {
	if s.short || well {
		return nil
	}
	return errTokens
}
