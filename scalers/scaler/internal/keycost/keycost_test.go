package keycost

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/youmark/pkcs8"
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func marshal(t *testing.T, of any) []byte {
	t.Helper()
	der, err := asn1.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// encrypted is a key that says that its password is derived in that way.
func encrypted(t *testing.T, kdf asn1.ObjectIdentifier, params any) []byte {
	t.Helper()
	var key encryptedKey
	key.Algorithm.ID = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	key.Algorithm.Params.KDF.Algorithm = kdf
	key.Algorithm.Params.KDF.Parameters.FullBytes = marshal(t, params)
	key.Algorithm.Params.Cipher.Algorithm = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	return marshal(t, key)
}

// iterated is what PBKDF2 is told.
type iterated struct {
	Salt       []byte
	Iterations int
}

func TestKeysThatAreMeantToBeExpensiveAreRefused(t *testing.T) {
	pbkdf2 := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	salt := []byte("salt")
	tests := map[string]struct {
		kdf    asn1.ObjectIdentifier
		params any
	}{
		"scrypt with four gigabytes":        {oidScrypt, scryptCost{Salt: salt, Cost: 1 << 22, BlockSize: 8, Rounds: 1}},
		"scrypt with all memory of the Pod": {oidScrypt, scryptCost{Salt: salt, Cost: 1 << 18, BlockSize: 8, Rounds: 1}},
		"scrypt with many rounds":           {oidScrypt, scryptCost{Salt: salt, Cost: 2, BlockSize: 8, Rounds: 1 << 20}},
		"scrypt with blocks of none":        {oidScrypt, scryptCost{Salt: salt, Cost: 2, Rounds: 1}},
		"a billion iterations":              {pbkdf2, iterated{salt, 1e9}},
		"two million iterations":            {pbkdf2, iterated{salt, 2e6}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := judge(encrypted(t, tt.kdf, tt.params)); err == nil {
				t.Error("the key is accepted")
			}
		})
	}
}

// TestDearKeysWaitForEachOther: what one may take, many at once may not.
func TestDearKeysWaitForEachOther(t *testing.T) {
	oneAtATime.Lock()
	derived := make(chan struct{})
	go func() {
		_, _ = Decrypt(encrypted(t, oidScrypt, scryptCost{Salt: []byte("salt"), Cost: 2, BlockSize: 8, Rounds: 1}), nil)
		close(derived)
	}()
	select {
	case <-derived:
		t.Error("a key was derived beside another")
	case <-time.After(100 * time.Millisecond):
	}
	oneAtATime.Unlock()
	<-derived
}

func TestKeysOfOrdinaryCostAreDecrypted(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]pkcs8.KDFOpts{
		"pbkdf2": pkcs8.PBKDF2Opts{SaltSize: 16, IterationCount: 600_000, HMACHash: pkcs8.DefaultOpts.KDFOpts.(pkcs8.PBKDF2Opts).HMACHash},
		"scrypt": pkcs8.ScryptOpts{SaltSize: 16, CostParameter: 1 << 14, BlockSize: 8, ParallelizationParameter: 1},
	}
	for name, kdf := range tests {
		t.Run(name, func(t *testing.T) {
			der, err := pkcs8.MarshalPrivateKey(private, []byte("hunter2"), &pkcs8.Opts{Cipher: pkcs8.AES256CBC, KDFOpts: kdf})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decrypt(der, []byte("hunter2")); err != nil {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// numbers is a private key of RSA as PKCS#1 has it, as far as its size goes.
type numbers struct {
	Version          int
	N                *big.Int
	E                int
	D, P, Q          *big.Int
	Dp, Dq, Inverted *big.Int
}

// ofBits has numbers as long as those of a key of so many bits.
func ofBits(n uint) numbers {
	long := func(bits uint) *big.Int { return new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1) } //nolint:gosec // a few thousand
	return numbers{
		N: long(n), E: 65537, D: long(n), P: long(n / 2), Q: long(n / 2), Dp: long(n / 2), Dq: long(n / 2), Inverted: long(n / 2),
	}
}

// pkcs8Of has a key in it.
func pkcs8Of(t *testing.T, key numbers) []byte {
	t.Helper()
	return marshal(t, struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue}, marshal(t, key)})
}

// TestKeysThatTakeLongAreRefused: nothing ends the work on a number of many
// thousand bits, whatever it is for.
func TestKeysThatTakeLongAreRefused(t *testing.T) {
	hidden := numbers{Version: 0, N: big.NewInt(77), E: 3, D: big.NewInt(3), P: ofBits(20_000).N, Q: big.NewInt(7),
		Dp: big.NewInt(1), Dq: big.NewInt(1), Inverted: big.NewInt(1)}
	tests := map[string][]byte{
		"PKCS#1 of 64 kilobits":        pemOf("RSA PRIVATE KEY", marshal(t, ofBits(1<<16))),
		"PKCS#8 of 64 kilobits":        pemOf("PRIVATE KEY", pkcs8Of(t, ofBits(1<<16))),
		"a little too long":            pemOf("PRIVATE KEY", pkcs8Of(t, ofBits(9000))),
		"one number alone":             pemOf("RSA PRIVATE KEY", marshal(t, hidden)),
		"in DER":                       pkcs8Of(t, ofBits(1<<16)),
		"behind a certificate":         append(pemOf("CERTIFICATE", []byte("any")), pemOf("PRIVATE KEY", pkcs8Of(t, ofBits(1<<16)))...),
		"under the name of another":    pemOf("EC PRIVATE KEY", marshal(t, ofBits(1<<16))),
		"in more than there is to see": pemOf("PRIVATE KEY", make([]byte, 1<<20)),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if err := CheckPrivate(text); !errors.Is(err, ErrLong) {
				t.Errorf("error = %v", err)
			}
			if _, err := Pair(nil, text); !errors.Is(err, ErrLong) {
				t.Errorf("error of a pair = %v", err)
			}
		})
	}
	if err := CheckPrivate(pemOf("PRIVATE KEY", pkcs8Of(t, ofBits(8192)))); err != nil {
		t.Errorf("a key of 8192 bits: %v", err)
	}
	if _, err := judge(make([]byte, longestEncrypted+1)); !errors.Is(err, ErrLong) {
		t.Errorf("an encrypted key of %d bytes: %v", longestEncrypted+1, err)
	}
}

// TestAuthoritiesThatTakeLongAreRefused: who makes both the authority and what
// it has signed has the client multiply numbers for minutes.
func TestAuthoritiesThatTakeLongAreRefused(t *testing.T) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := func(bits uint) []byte {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
		modulus := ofBits(bits).N
		der, err := x509.CreateCertificate(rand.Reader, template, template, &rsa.PublicKey{N: modulus.SetBit(modulus, 0, 1), E: 65537}, signer)
		if err != nil {
			t.Fatal(err)
		}
		return pemOf("CERTIFICATE", der)
	}
	good := authority(4096)
	if err := CheckAuthorities(good); err != nil {
		t.Errorf("4096 bits: %v", err)
	}
	if err := CheckAuthorities(append(good, authority(1<<18)...)); err == nil {
		t.Error("256 kilobits are accepted")
	}
}
