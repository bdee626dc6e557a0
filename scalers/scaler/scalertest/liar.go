package scalertest

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
)

// Listen serves each connection to an address of 127.0.0.1 until the test ends,
// which waits for all of them: their clients have to end them.
func Listen(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	return boundtest.Listen(t, serve)
}

// Allocated is how much memory the process has asked for so far.
func Allocated() uint64 { return boundtest.Allocated() }

// Alter makes something else of answer n of a server, as lies say: each has 8
// bytes, which are the number of an answer, what to do with it, where, and a
// value. All of them together make an answer at most most bytes longer, however
// often they repeat it, so that what a test takes is what the client takes.
func Alter(answer []byte, n byte, lies []byte, most int) []byte {
	longest := len(answer) + most
	for ; len(lies) >= 8; lies = lies[8:] {
		if lies[0] == n && len(answer) > 0 {
			answer = alter(answer, lies[1], int(binary.BigEndian.Uint16(lies[2:]))%len(answer), lies[4:8], longest-len(answer))
		}
	}
	return answer
}

// alter makes an answer at most room bytes longer.
func alter(answer []byte, how byte, at int, value []byte, room int) []byte {
	altered := append([]byte(nil), answer...)
	switch how % 5 {
	case 0:
		copy(altered[at:], value)
	case 1:
		altered = altered[:at]
	case 2:
		altered = append(altered, bytes.Repeat(answer, min(at%100+1, room/len(answer)))...)
	case 3:
		altered = append(altered, make([]byte, int(binary.BigEndian.Uint32(value))%(room+1))...)
	case 4:
		altered[at] ^= value[0] | 1
	}
	return altered
}
