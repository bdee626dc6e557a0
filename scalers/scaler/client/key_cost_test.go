package client

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"testing"

	"github.com/youmark/pkcs8"
)

func TestKeysThatAreMeantToBeExpensiveAreRefused(t *testing.T) {
	tests := map[string]struct {
		kdf    asn1.ObjectIdentifier
		params any
	}{
		"scrypt with four gigabytes": {oidScrypt, scryptCost{Salt: []byte("salt"), Cost: 1 << 22, BlockSize: 8, Rounds: 1}},
		"scrypt with many rounds":    {oidScrypt, scryptCost{Salt: []byte("salt"), Cost: 2, BlockSize: 8, Rounds: 1 << 20}},
		"scrypt with blocks of none": {oidScrypt, scryptCost{Salt: []byte("salt"), Cost: 2, Rounds: 1}},
		"a billion iterations": {
			asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12},
			struct {
				Salt       []byte
				Iterations int
			}{[]byte("salt"), 1e9},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var key encryptedKey
			key.Algorithm.ID = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
			key.Algorithm.Params.KDF.Algorithm = tt.kdf
			params, err := asn1.Marshal(tt.params)
			if err != nil {
				t.Fatal(err)
			}
			key.Algorithm.Params.KDF.Parameters.FullBytes = params
			key.Algorithm.Params.Cipher.Algorithm = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
			der, err := asn1.Marshal(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkCost(der); err == nil {
				t.Error("the key is accepted")
			}
		})
	}
}

func TestKeysOfOrdinaryCostAreDecrypted(t *testing.T) {
	_, text := keyPair(t)
	plain, _ := pem.Decode([]byte(text))
	private, err := x509.ParsePKCS8PrivateKey(plain.Bytes)
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
			if _, err := parseEncrypted(der, []byte("hunter2")); err != nil {
				t.Errorf("error = %v", err)
			}
		})
	}
}
