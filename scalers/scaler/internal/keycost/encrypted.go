package keycost

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"sync"

	"github.com/youmark/pkcs8"
)

// Bounds of what it may cost to derive a key from a password: what tools write
// where nobody asks for more, and several times that. A key made to cost more
// would take the processor or the memory of everybody in the process.
const (
	maxIterations   = 1_000_000
	maxScryptMemory = 32 << 20 // bytes, as scrypt needs 128 × cost × block size
	maxScryptRounds = 4
	// cheapIterations take some hundredths of a second.
	cheapIterations = 100_000
)

var oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}

// encryptedKey is the outer part of a PKCS#8 key encrypted with PBES2.
//
// Source: RFC 5958 section 3, RFC 8018 appendix A.4.
type encryptedKey struct {
	Algorithm struct {
		ID     asn1.ObjectIdentifier
		Params struct {
			KDF    pkix.AlgorithmIdentifier
			Cipher pkix.AlgorithmIdentifier
		}
	}
	Data []byte
}

// pbkdf2Cost and scryptCost are the parameters of the two derivations, as far
// as they cost. Source: RFC 8018 appendix A.2, RFC 7914 section 7.1.
type pbkdf2Cost struct {
	Salt       []byte
	Iterations int
	Length     int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

type scryptCost struct {
	Salt                    []byte
	Cost, BlockSize, Rounds int
	Length                  int `asn1:"optional"`
}

// oneAtATime is for keys that take memory or long: together they would take what
// none of them may.
var oneAtATime sync.Mutex

// Decrypt returns the key in an encrypted PKCS#8 block. Key and password are a
// tenant's, and the library panics on lengths that do not fit its ciphers.
func Decrypt(der, password []byte) (key any, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("malformed")
		}
	}()
	dear, err := judge(der)
	if err != nil {
		return nil, err
	}
	if dear {
		oneAtATime.Lock()
		defer oneAtATime.Unlock()
	}
	return pkcs8.ParsePKCS8PrivateKey(der, password)
}

// judge refuses keys that are malformed, or meant to be expensive, and says
// which of the others are dear.
func judge(der []byte) (dear bool, err error) {
	if len(der) > longestEncrypted {
		return false, ErrLong
	}
	var key encryptedKey
	if _, err := asn1.Unmarshal(der, &key); err != nil {
		return false, err
	}
	kdf := key.Algorithm.Params.KDF
	if kdf.Algorithm.Equal(oidScrypt) {
		return true, checkScrypt(kdf.Parameters.FullBytes)
	}
	var cost pbkdf2Cost
	if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &cost); err != nil {
		return false, err
	}
	if cost.Iterations < 1 || cost.Iterations > maxIterations {
		return false, errors.New("too many iterations")
	}
	return cost.Iterations > cheapIterations || len(der) > cheap, nil
}

func checkScrypt(params []byte) error {
	var cost scryptCost
	if _, err := asn1.Unmarshal(params, &cost); err != nil {
		return err
	}
	if cost.Cost < 1 || cost.BlockSize < 1 || cost.Rounds < 1 || cost.Rounds > maxScryptRounds ||
		cost.Cost > maxScryptMemory/128/cost.BlockSize {
		return errors.New("too much memory")
	}
	return nil
}
