package main

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// errNoNumber is about what begins like an answer of more than one number.
var errNoNumber = scaler.Errorf(codes.FailedPrecondition, "query: the answer is not one number")

// errPackets is about what MySQL never says.
var errPackets = errors.New("the answer is none of MySQL")

const (
	// longestLogin is that of a packet of a login, in bytes; a key is the longest.
	longestLogin = 8 << 10
	// longestBeginning is what is looked at of another.
	longestBeginning = 32
	// mostBits are those of a key, as crypto/tls has it for keys of servers.
	mostBits = 8192
)

// packets checks those of MySQL. The driver takes their parts to be there, and a
// session that it gave up in the midst of a login would be there for good. It
// makes room for as many columns as it is told, too: a number of columns and a
// row begin alike, so that neither may begin with a number of more than one byte.
// Rows of one number do not.
type packets struct {
	head    []byte
	kept    []byte // the beginning of the packet
	length  int    // of it
	left    int    // bytes of it that are to come
	greeted bool
	results bool // whether the login is over
}

// Check implements client.Checker.
func (k *packets) Check(p []byte) error {
	const head = 4
	for len(p) > 0 {
		if len(k.head) < head {
			n := min(len(p), head-len(k.head))
			k.head, p = append(k.head, p[:n]...), p[n:]
			if len(k.head) < head {
				return nil
			}
			if err := k.begin(); err != nil {
				return err
			}
			continue
		}
		n := min(len(p), k.left)
		k.kept = append(k.kept, p[:min(n, k.most()-len(k.kept))]...)
		p, k.left = p[n:], k.left-n
		if k.left > 0 {
			continue
		}
		if err := k.whole(); err != nil {
			return err
		}
		k.head = k.head[:0]
	}
	return nil
}

// begin looks at the head of a packet.
func (k *packets) begin() error {
	k.length = int(k.head[0]) | int(k.head[1])<<8 | int(k.head[2])<<16
	k.left, k.kept = k.length, k.kept[:0]
	// The answer to a command begins with packet 1, which is the client's in a
	// login.
	k.results = k.results || k.head[3] == 1
	switch {
	case !k.results && k.length > longestLogin:
		return errLongMessage
	case k.length > mostMessage:
		return errNoNumber
	case k.length == 0:
		k.head = k.head[:0]
	}
	return nil
}

// most is how much is kept of a packet.
func (k *packets) most() int {
	if k.results {
		return longestBeginning
	}
	return longestLogin
}

// whole looks at a packet once it has come.
func (k *packets) whole() error {
	greets := !k.greeted
	k.greeted = true
	well := true
	switch first := k.kept[0]; {
	case first == 0xff:
		well = wellError(k.kept)
	case greets:
		well = wellGreeting(k.kept)
	case first == 0:
		well = wellEnd(k.kept)
	case k.results && (first == 0xfc || first == 0xfd || first == 0xfe && k.length > 8):
		return errNoNumber
	case k.results && first == 0xfe:
		well = wellEnd(k.kept)
	case first == 0xfe:
		well = wellSwitch(k.kept)
	case first == 1 && !k.results:
		well = wellKey(k.kept[1:])
	}
	if !well {
		return errPackets
	}
	return nil
}

// wellError says whether a packet has a number, and a state if it begins one.
func wellError(b []byte) bool {
	return len(b) >= 4 && (b[3] != '#' || len(b) >= 9)
}

// wellGreeting says whether a greeting has all of its parts up to the name of
// the way to log in.
func wellGreeting(b []byte) bool {
	const oldest, parts = 10, 4 + 8 + 1 + 2 + 3 + 2 + 7 + 4 + 13
	version := bytes.IndexByte(b, 0)
	return b[0] < oldest || version > 0 && len(b) >= version+1+parts
}

// wellEnd says whether the end of an answer has two numbers and a status.
func wellEnd(b []byte) bool {
	rest := b[1:]
	for range 2 {
		if len(rest) == 0 {
			return false
		}
		width := 1
		switch rest[0] {
		case 0xfc:
			width = 3
		case 0xfd:
			width = 4
		case 0xfe:
			width = 9
		}
		if len(rest) < width {
			return false
		}
		rest = rest[width:]
	}
	return len(rest) >= 2
}

// wellSwitch says whether a switch to another way to log in has what that takes.
func wellSwitch(b []byte) bool {
	name, seed, found := bytes.Cut(b[1:], []byte{0})
	if !found {
		return true // that of very old servers, or none
	}
	least := map[string]int{"mysql_native_password": 20, "mysql_old_password": 8}[string(name)]
	return len(bytes.TrimSuffix(seed, []byte{0})) >= least
}

// wellKey says whether a key, if it is one, is of the kind that passwords are
// encrypted with.
func wellKey(b []byte) bool {
	block, _ := pem.Decode(b)
	if block == nil {
		return true
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, fits := parsed.(*rsa.PublicKey)
	return err != nil || fits && key.N.BitLen() <= mostBits
}
