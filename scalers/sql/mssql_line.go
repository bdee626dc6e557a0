package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/microsoft/go-mssqldb/msdsn"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// belowTLS is config for a driver that makes no TLS: its dialer does, so that
// what the driver is told can be looked at.
func belowTLS(config msdsn.Config) msdsn.Config {
	config.Encryption, config.TLSConfig = msdsn.EncryptionDisabled, nil
	return config
}

// mostDials is how often a server may send a login elsewhere.
const mostDials = 5

var errRouted = errors.New("the server sends logins elsewhere without end")

// lineDialer gets the host by its name and not as addresses, and opens lines.
type lineDialer struct {
	dial   dialFunc
	config msdsn.Config
}

// HostName is part of the driver's interface.
func (d lineDialer) HostName() string { return d.config.Host }

// DialContext implements the driver's interface. What is not TCP asks for the
// port of an instance.
func (d lineDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if mine, ok := ctx.Value(loginKey{}).(*login); ok && mine.dials.Add(1) > mostDials {
		return nil, errRouted
	}
	raw, err := d.dial(ctx, network, address)
	if err != nil || network != "tcp" {
		return raw, err
	}
	t := &tds{Conn: raw, transport: raw, ctx: ctx, encryption: d.config.Encryption, config: d.encrypted(address)}
	if t.encryption == msdsn.EncryptionStrict {
		if err := t.encrypt(raw, "tds/8.0"); err != nil {
			raw.Close()
			return nil, err
		}
	}
	return opens(ctx, newLine(t, address, newTokens())), nil
}

// encrypted is how TLS is made with a host, which may be another than that of
// the connection string.
func (d lineDialer) encrypted(address string) *tls.Config {
	host, _, _ := net.SplitHostPort(address)
	config := &tls.Config{DynamicRecordSizingDisabled: true} //nolint:gosec // as the driver has it, for old servers
	if d.config.TLSConfig != nil {
		config = d.config.TLSConfig.Clone()
	}
	if !d.config.HostInCertificateProvided {
		config.ServerName = host
	}
	client.BoundServers(config)
	return config
}

// Ways of encryption, as the two sides tell each other.
//
// Source: https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/60f56408-0188-4cd5-8b90-25c6f2423868
const (
	encryptLogin, encryptAll, encryptNothing, encryptRequired, encryptStrict = 0, 1, 2, 3, 4
)

// Kinds of packets.
const (
	packetOfAnswer, packetOfLogin, packetOfPrelogin = 0x04, 0x10, 0x12

	headerOfPacket = 8
	longestPacket  = 32767
)

// tds is a connection to SQL Server whose TLS is below what the driver is told:
// it says what the connection string wants where the driver says that it knows
// no TLS, and tells the driver that the server does not, either.
type tds struct {
	net.Conn

	transport  net.Conn        // with TLS or without
	ctx        context.Context //nolint:containedctx // of the login, which this is a part of
	encryption msdsn.Encryption
	config     *tls.Config

	agreed    bool   // both have said how they encrypt
	loginOnly bool   // there is no TLS behind the login
	answer    []byte // that is still to be read by the driver
}

var wishes = map[msdsn.Encryption]byte{
	msdsn.EncryptionOff: encryptLogin, msdsn.EncryptionRequired: encryptAll, msdsn.EncryptionDisabled: encryptNothing, msdsn.EncryptionStrict: encryptStrict,
}

// tds8 is the version that a login has where all of a connection is encrypted.
const tds8 = 0x08000000

// longestWrite is how long a server may take for one packet.
const longestWrite = 10 * time.Second

// Write implements net.Conn. The driver writes packets, one at a time, and would
// wait for a server that takes none for ever, whatever the context says.
func (t *tds) Write(p []byte) (int, error) {
	if err := t.SetWriteDeadline(time.Now().Add(longestWrite)); err != nil {
		return 0, err
	}
	defer func() { _ = t.SetWriteDeadline(time.Time{}) }() // else it is closed
	if t.encryption == msdsn.EncryptionStrict && len(p) > headerOfPacket+8 && p[0] == packetOfLogin {
		p = bytes.Clone(p)
		binary.LittleEndian.PutUint32(p[headerOfPacket+4:], tds8)
	}
	if !t.agreed && len(p) > headerOfPacket && p[0] == packetOfPrelogin {
		p = bytes.Clone(p)
		wish, err := encryptionOf(p[headerOfPacket:])
		if err != nil {
			return 0, err
		}
		*wish = wishes[t.encryption]
	}
	n, err := t.transport.Write(p)
	if t.loginOnly {
		t.transport, t.loginOnly = t.Conn, false
	}
	return n, err
}

// Read implements net.Conn.
func (t *tds) Read(p []byte) (int, error) {
	if !t.agreed {
		if err := t.agree(); err != nil {
			return 0, err
		}
	}
	if len(t.answer) > 0 {
		n := copy(p, t.answer)
		t.answer = t.answer[n:]
		return n, nil
	}
	return t.transport.Read(p)
}

var (
	errPrelogin = errors.New("the server's answer to the login is none of SQL Server")
	errNoTLS    = scaler.Errorf(codes.Unavailable, "connectionString: the server offers no TLS")
)

// agree reads how the server encrypts, makes TLS as agreed, and has an answer
// for the driver that says nothing of it.
func (t *tds) agree() error {
	answer, err := readPacketOf(t.transport, packetOfAnswer)
	if err != nil {
		return err
	}
	says, err := encryptionOf(answer[headerOfPacket:])
	if err != nil {
		return err
	}
	how := *says
	*says = encryptNothing
	t.answer, t.agreed = answer, true
	switch {
	case t.encryption == msdsn.EncryptionStrict || how == encryptNothing && t.encryption != msdsn.EncryptionRequired:
		return nil
	case t.encryption == msdsn.EncryptionRequired && how != encryptAll && how != encryptRequired:
		return errNoTLS
	}
	t.loginOnly = how == encryptLogin
	return t.encrypt(&handshake{Conn: t.Conn}, "")
}

// encrypt makes TLS over what is given, and goes on over the connection itself.
func (t *tds) encrypt(over net.Conn, protocol string) error {
	config := t.config
	if protocol != "" {
		config = config.Clone()
		config.NextProtos = []string{protocol}
	}
	below := &switched{over}
	encrypted := tls.Client(below, config)
	if err := encrypted.HandshakeContext(t.ctx); err != nil {
		return err
	}
	if wrapped, ok := over.(*handshake); ok {
		if err := wrapped.flush(); err != nil {
			return err
		}
	}
	below.Conn = t.Conn
	t.transport = encrypted
	return nil
}

// switched is a connection that can become another.
type switched struct{ net.Conn }

// encryptionOf is where a prelogin says how its side encrypts.
func encryptionOf(prelogin []byte) (*byte, error) {
	const option, end, encryption = 5, 0xff, 1
	for at := 0; at+option < len(prelogin) && prelogin[at] != end; at += option {
		if prelogin[at] != encryption {
			continue
		}
		where, length := int(binary.BigEndian.Uint16(prelogin[at+1:])), binary.BigEndian.Uint16(prelogin[at+3:])
		if where >= len(prelogin) || length == 0 {
			break
		}
		return &prelogin[where], nil
	}
	return nil, errPrelogin
}

// readPacketOf reads a whole message of one packet, with its header.
func readPacketOf(r io.Reader, kinds ...byte) ([]byte, error) {
	packet := make([]byte, headerOfPacket)
	if _, err := io.ReadFull(r, packet); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(packet[2:]))
	if length < headerOfPacket || length > longestPacket || !bytes.Contains(kinds, packet[:1]) {
		return nil, errPrelogin
	}
	packet = append(packet, make([]byte, length-headerOfPacket)...)
	_, err := io.ReadFull(r, packet[headerOfPacket:])
	return packet, err
}

// handshake carries that of TLS in packets, as SQL Server wants it.
type handshake struct {
	net.Conn

	in, out []byte
	come    int // bytes, in all
}

// longestHandshake is how much a server may say until TLS stands, in bytes. Its
// certificates stay in memory as they came.
const longestHandshake = 48 << 10

var errHandshake = errors.New("the server says more about TLS than there is to say")

// Write implements net.Conn. What is written goes with the next read.
func (h *handshake) Write(p []byte) (int, error) {
	h.out = append(h.out, p...)
	return len(p), nil
}

// Read implements net.Conn.
func (h *handshake) Read(p []byte) (int, error) {
	if err := h.flush(); err != nil {
		return 0, err
	}
	if len(h.in) == 0 {
		packet, err := readPacketOf(h.Conn, packetOfPrelogin, packetOfAnswer)
		if err != nil {
			return 0, err
		}
		h.in = packet[headerOfPacket:]
		if h.come += len(h.in); h.come > longestHandshake {
			return 0, errHandshake
		}
	}
	n := copy(p, h.in)
	h.in = h.in[n:]
	return n, nil
}

// flush sends what was written, in packets of which the last one says so.
func (h *handshake) flush() error {
	const most = 4096 - headerOfPacket
	for number := byte(1); len(h.out) > 0; number++ {
		n := min(len(h.out), most)
		var last byte
		if n == len(h.out) {
			last = 1
		}
		header := []byte{packetOfPrelogin, last, 0, 0, 0, 0, number, 0}
		binary.BigEndian.PutUint16(header[2:], uint16(n+headerOfPacket)) //nolint:gosec // at most 4096
		if _, err := h.Conn.Write(append(header, h.out[:n]...)); err != nil {
			return err
		}
		h.out = h.out[n:]
	}
	return nil
}
