package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// count is the beginning of a message about so many columns.
func count(n uint16) string { return string(binary.BigEndian.AppendUint16(nil, n)) }

// TestColumnsAreFew: drivers make room for columns, and for the values of a row,
// by what is announced, which some bytes can do.
func TestColumnsAreFew(t *testing.T) {
	for name, tt := range map[string]struct {
		check   client.Checker
		said    []byte
		refused bool
	}{
		"postgresql, as many as there may be": {&messages{longest: mostMessage}, message('T', count(mostColumns)), false},
		"postgresql, columns":                 {&messages{longest: mostMessage}, message('T', count(mostColumns+1)), true},
		"postgresql, values":                  {&messages{longest: mostMessage}, message('D', count(65535)), true},
		"mysql, as many as there may be":      {&packets{results: true, greeted: true}, mysqlPacket(1, 250), false},
		"mysql":                               {&packets{results: true, greeted: true}, mysqlPacket(1, 0xfc, 0xff, 0xff), true},
		"mssql":                               {&tokens{}, tdsPacket(0, tokenColumns, 2, 0), true},
	} {
		for _, size := range []int{1, len(tt.said)} {
			var err error
			for at := 0; at < len(tt.said) && err == nil; at += size {
				err = tt.check.Check(tt.said[at : at+size])
			}
			if tt.refused != (err != nil) {
				t.Errorf("%s, by %d: error = %v", name, size, err)
			}
		}
	}
}

// TestLongMessagesAreRefusedByTheirHeads: drivers make room for them as soon as
// they see these.
func TestLongMessagesAreRefusedByTheirHeads(t *testing.T) {
	for name, tt := range map[string]struct {
		check client.Checker
		head  []byte
		want  error
	}{
		"postgresql, a row":       {&messages{longest: mostMessage}, []byte("D\x00\x01\x00\x05"), errNoNumber},
		"postgresql, an error":    {&messages{longest: mostMessage}, []byte("E\x00\x01\x00\x05"), errLongMessage},
		"postgresql, the most":    {&messages{longest: mostMessage}, []byte("D\x00\x01\x00\x04"), nil},
		"mysql, a row":            {&packets{results: true, greeted: true}, []byte{1, 0, 1, 2}, errNoNumber},
		"mysql, the most":         {&packets{results: true, greeted: true}, []byte{0, 0, 1, 2}, nil},
		"mysql, a login's packet": {&packets{}, []byte{1, 0x20, 0, 0}, errLongMessage},
	} {
		if err := tt.check.Check(tt.head); !errors.Is(err, tt.want) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
}

// TestChangesAreNotWaitedFor: what the driver acts on before it is whole is
// judged before it is whole.
func TestChangesAreNotWaitedFor(t *testing.T) {
	change := func(parts ...byte) []byte { return tdsPacket(0, append([]byte{tokenOfChange, 0, 0x30}, parts...)...) }
	for name, said := range map[string][]byte{
		"one that nobody knows":          change(99),
		"behind one that is known":       change(3, 0, 0, 0x42),
		"packets larger than their room": change(append([]byte{4, 5}, wide("99999")...)...),
		"longer than all of them":        tdsPacket(0, tokenOfChange, 10, 0, 1, 5),
	} {
		if err := (&tokens{}).Check(said); !errors.Is(err, errTokens) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
	for at := range change(3, 1) {
		if err := (&tokens{}).Check(change(3, 1)[:at]); err != nil {
			t.Errorf("%d bytes of one that is known: %v", at, err)
		}
	}
}

// TestSettingsThatAreKeptAreFew: a session keeps each that its server reports.
func TestSettingsThatAreKeptAreFew(t *testing.T) {
	report := func(n int, name func(int) string, value string) error {
		m := &messages{longest: mostMessage}
		var errs []error
		for i := range n {
			errs = append(errs, m.Check(message('S', name(i)+"\x00"+value+"\x00")))
		}
		return errors.Join(errs...)
	}
	same := func(int) string { return "search_path" }
	other := func(i int) string { return fmt.Sprint("setting", i) }
	if err := errors.Join(report(10_000, same, strings.Repeat("x", 1000)), report(mostSettings, other, "on")); err != nil {
		t.Errorf("what may be: %v", err)
	}
	for name, err := range map[string]error{
		"many":      report(mostSettings+1, other, "on"),
		"long":      report(50, other, strings.Repeat("x", 1000)),
		"very long": report(1, other, strings.Repeat("x", longestSettings)),
	} {
		if !errors.Is(err, errReports) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
}

// TestHalfNotificationsAreShort has a server send part of a notification and
// nothing more, for which nobody would count what came of it.
func TestHalfNotificationsAreShort(t *testing.T) {
	answer := bytes.Join([][]byte{message('C', "LISTEN\x00"), message('Z', "I"), []byte("A\x00\x00\x80\x00")}, nil)
	address := liar(t, "postgresql", lie{answer: answer}.honest("postgresql", false), nil)
	s, err := openPostgreSQL(opening(t), postgresqlParams{Connection: "postgres://u:p@" + address + "/d?sslmode=disable", Query: "SELECT 1", ListenChannel: "jobs"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t)
	if err := s.(scaler.Ringer).Listen(ctx, func() {}, func() {}); err == nil || ctx.Err() != nil {
		t.Errorf("listening ended with %v", err)
	}
}

// TestDatabasesCountWithTheirSessions: all that one may have count before there is
// one.
func TestDatabasesCountWithTheirSessions(t *testing.T) {
	const room = 3
	before := debug.SetMemoryLimit(4 * room * mostConnections * client.UsualCost) // a quarter is one namespace's
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	ctx := opening(t)
	for i := range room + 1 {
		_, err := openPostgreSQL(ctx, postgresqlParams{Connection: fmt.Sprintf("postgres://u:p@192.0.2.1:%d/d", 1+i), Query: "SELECT 1"})
		if refused := err != nil && strings.Contains(err.Error(), "--connection-memory"); refused != (i == room) {
			t.Errorf("database %d: error = %v", i+1, err)
		}
	}
}

// TestServersWithLargeCertificates is for what drivers make of a connection
// string that believes anybody.
func TestServersWithLargeCertificates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0)}
	for range 6000 {
		template.DNSNames = append(template.DNSNames, "a")
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MaxVersion: tls.VersionTLS12} //nolint:gosec // SQL Server's, within packets
	for _, triggerType := range []string{"postgresql", "mysql", "mssql"} {
		t.Run(triggerType, func(t *testing.T) {
			auth := connecting(triggerType, liar(t, triggerType, lie{}.honest(triggerType, true), config), true)
			_, err := scalertest.Serve(t, triggers...).WithAuth(auth).Observe(t.Context(), triggerType, constant)
			if err == nil || !strings.Contains(err.Error(), "certificates of the server") {
				t.Errorf("error = %v", err)
			}
		})
	}
}
