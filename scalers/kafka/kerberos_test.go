package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/jcmturner/gofork/encoding/asn1"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// realm is a key distribution centre that knows alice.
type realm struct {
	address string
	t       *testing.T
	lasts   time.Duration               // of tickets
	answer  func(request []byte) []byte // in place of its own answers; nil for these

	mu              sync.Mutex
	session         types.EncryptionKey
	logins, tickets int
}

const aes256 = 18

func startRealm(t *testing.T) *realm {
	t.Helper()
	r := &realm{t: t, lasts: time.Hour}
	r.address = scalertest.Listen(t, func(conn net.Conn) {
		request, err := readExchange(conn)
		if err != nil {
			return
		}
		if r.answer != nil {
			_, _ = conn.Write(r.answer(request))
		} else if answer, err := r.own(request); err != nil {
			t.Errorf("the realm: %v", err)
		} else {
			_ = writeExchange(conn, answer)
		}
	})
	return r
}

func (r *realm) own(request []byte) ([]byte, error) {
	var login messages.ASReq
	if login.Unmarshal(request) == nil {
		alice, _, err := crypto.GetKeyFromPassword("wonderland", login.ReqBody.CName, "EXAMPLE", aes256, nil)
		if err != nil {
			return nil, err
		}
		fields, err := r.reply(msgtype.KRB_AS_REP, login.ReqBody, alice, keyusage.AS_REP_ENCPART)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		r.logins++
		r.mu.Unlock()
		return (&messages.ASRep{KDCRepFields: fields}).Marshal()
	}
	var ticket messages.TGSReq
	if err := ticket.Unmarshal(request); err != nil {
		return nil, err
	}
	ticket.ReqBody.CName = types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, "alice")
	if r.lasts < time.Minute { // longer than the ticket, so that it would be renewed
		<-time.After(2 * r.lasts)
	}
	r.mu.Lock()
	r.tickets++
	session := r.session
	r.mu.Unlock()
	fields, err := r.reply(msgtype.KRB_TGS_REP, ticket.ReqBody, session, keyusage.TGS_REP_ENCPART_SESSION_KEY)
	if err != nil {
		return nil, err
	}
	return (&messages.TGSRep{KDCRepFields: fields}).Marshal()
}

func (r *realm) reply(kind int, request messages.KDCReqBody, key types.EncryptionKey, usage uint32) (messages.KDCRepFields, error) {
	service := keytab.New()
	if err := service.AddEntry(request.SName.PrincipalNameString(), "EXAMPLE", "service", time.Now(), 1, aes256); err != nil {
		return messages.KDCRepFields{}, err
	}
	now := time.Now().UTC()
	end := now.Add(r.lasts)
	ticket, session, err := messages.NewTicket(request.CName, "EXAMPLE", request.SName, "EXAMPLE", types.NewKrbFlags(), service, aes256, 1, now, now, end, end)
	if err != nil {
		return messages.KDCRepFields{}, err
	}
	if kind == msgtype.KRB_AS_REP {
		r.mu.Lock()
		r.session = session
		r.mu.Unlock()
	}
	part := messages.EncKDCRepPart{
		Key: session, LastReqs: []messages.LastReq{{LRValue: now}}, Nonce: request.Nonce, Flags: types.NewKrbFlags(),
		AuthTime: now, StartTime: now, EndTime: end, RenewTill: end.Add(time.Hour), SRealm: "EXAMPLE", SName: request.SName,
	}
	plain, err := part.Marshal()
	if err != nil {
		return messages.KDCRepFields{}, err
	}
	sealed, err := crypto.GetEncryptedData(plain, key, usage, 1)
	return messages.KDCRepFields{PVNO: 5, MsgType: kind, CRealm: "EXAMPLE", CName: request.CName, Ticket: ticket, EncPart: sealed}, err
}

// logIn logs alice in with the dialer of a source.
func logIn(ctx context.Context, t *testing.T, config string) (first []byte, dialled []string, err error) {
	t.Helper()
	p := kerberosParams{Realm: "EXAMPLE", KerberosConfig: config, KerberosServiceName: "kafka", KerberosDisableFAST: true}
	mechanism, err := p.mechanism(ctx, account{"alice", "wonderland"})
	if err != nil {
		return nil, nil, err
	}
	login := mechanism.(kerberosLogin)
	rules := login.dial
	login.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return rules(ctx, network, address)
	}
	_, first, err = careful{Mechanism: login, hashing: client.HashingOf(ctx)}.Authenticate(ctx, "broker.example.com:9092")
	return first, dialled, err
}

const krb5 = "[libdefaults]\n default_realm = EXAMPLE\n dns_lookup_kdc = true\n dns_lookup_realm = true\n[realms]\n EXAMPLE = {\n  kdc = %s\n }\n"

// TestKerberosGoesByTheRules: what the library asks of a realm is dialled as a
// source is, a dead centre is passed over, and a name server is asked for none.
func TestKerberosGoesByTheRules(t *testing.T) {
	r := startRealm(t)
	first, dialled, err := logIn(t.Context(), t, fmt.Sprintf(krb5, r.address))
	if err != nil || len(first) == 0 || len(dialled) != 2 || dialled[0] != r.address || dialled[1] != r.address {
		t.Errorf("dialled %v, %d bytes, %v", dialled, len(first), err)
	}
	if _, _, err := logIn(t.Context(), t, fmt.Sprintf(krb5, "127.0.0.1:1\n  kdc = "+r.address)); err != nil {
		t.Errorf("beside a dead one: %v", err)
	}
	before := net.DefaultResolver
	defer func() { net.DefaultResolver = before }()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("a name server is asked")
		return nil, net.ErrClosed
	}}
	_, _, err = logIn(t.Context(), t, "[libdefaults]\n default_realm = EXAMPLE\n dns_lookup_kdc = true\n")
	if err == nil || err.Error() != "kerberosConfig: has no kdc for realm" {
		t.Errorf("without a centre: %v", err)
	}
}

// TestKerberosAddresses: a realm that is where no source may be is not asked.
func TestKerberosAddresses(t *testing.T) {
	outbound.Allow()
	defer outbound.Allow(outbound.Loopback...)
	for address, want := range map[string]string{
		"169.254.169.254": "a cloud's metadata service", "127.0.0.1:88": "of the machine itself", "[fd00:ec2::23]:88": "a cloud's metadata service",
		"localhost": "of the machine itself", "0x7f.1": "a notation", "::1": "a kdc is not a host",
	} {
		if _, _, err := logIn(t.Context(), t, fmt.Sprintf(krb5, address)); err == nil || !strings.HasPrefix(err.Error(), "kerberosConfig: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, _, err := logIn(t.Context(), t, fmt.Sprintf(krb5, "a")+strings.Repeat("#", longestKerberosConfig)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a large one: %v", err)
	}
}

// TestRealmsThatLie: a centre is whoever a user names.
func TestRealmsThatLie(t *testing.T) {
	refusal := func(code int32, hints types.PADataSequence) []byte {
		e := messages.NewKRBError(types.NewPrincipalName(nametype.KRB_NT_SRV_INST, "krbtgt/EXAMPLE"), "EXAMPLE", code, "hush-hush")
		if hints != nil {
			var err error
			if e.EData, err = asn1.Marshal(hints); err != nil {
				t.Fatal(err)
			}
		}
		content, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return framed(content)
	}
	hashing := func(iterations uint32) types.PADataSequence {
		kinds, err := asn1.Marshal(types.ETypeInfo2{{EType: aes256, Salt: "s", S2KParams: binary.BigEndian.AppendUint32(nil, iterations)}})
		if err != nil {
			t.Fatal(err)
		}
		return types.PADataSequence{{PADataType: patype.PA_ETYPE_INFO2, PADataValue: kinds}}
	}
	tests := map[string]struct {
		answer []byte
		want   string
	}{
		"more than there is":    {[]byte{0xff, 0xff, 0xff, 0xff}, "an answer has more than 131072 bytes"},
		"half an answer":        {[]byte{0, 1, 0, 0, 1}, "unexpected EOF"},
		"nothing":               {nil, "unexpected EOF"},
		"no Kerberos":           {framed([]byte("hush-hush")), "the Kerberos realm knows neither"},
		"an empty answer":       {framed(nil), "the Kerberos realm knows neither"},
		"a refusal":             {refusal(errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN, nil), "the Kerberos realm refuses: (6) KDC_ERR_C_PRINCIPAL_UNKNOWN"},
		"hashing without end":   {refusal(errorcode.KDC_ERR_PREAUTH_REQUIRED, hashing(1<<32-1)), "more than 100000 iterations"},
		"hashing 2^32 times":    {refusal(errorcode.KDC_ERR_PREAUTH_REQUIRED, hashing(0)), "more than 100000 iterations"},
		"referrals without end": {refusal(errorcode.KDC_ERR_WRONG_REALM, nil), "the Kerberos realm"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := startRealm(t)
			r.answer = func([]byte) []byte { return tt.answer }
			_, _, err := logIn(t.Context(), t, fmt.Sprintf(krb5, r.address))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

// TestTicketsAreNotRenewed: the library would do so on a goroutine of its own.
func TestTicketsAreNotRenewed(t *testing.T) {
	r := startRealm(t)
	r.lasts = 2 * time.Second
	_, _, _ = logIn(t.Context(), t, fmt.Sprintf(krb5, r.address))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.logins != 1 || r.tickets > 1 {
		t.Errorf("%d logins and %d tickets reached the realm, want one of each", r.logins, r.tickets)
	}
}

func framed(content []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(content))), content...) //nolint:gosec // it is short
}
