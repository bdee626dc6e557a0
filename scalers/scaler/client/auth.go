package client

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// HTTPAuthParams is the shared authentication block of HTTP triggers. Without
// authModes it is off, whatever else is given; ca is honoured always.
type HTTPAuthParams struct {
	OAuthParams
	// AuthModes are the ways to authenticate, which may be combined; of bearer,
	// basic and oauth only one.
	AuthModes []string `param:"authModes" alias:"authMode" from:"trigger,auth" enum:"apiKey,basic,tls,bearer,custom,oauth" exclusive:"bearer,basic,oauth"`
	// BearerToken is sent as a bearer token in mode bearer.
	BearerToken string `param:"bearerToken" alias:"token" from:"auth"`
	// Username is needed in mode basic.
	Username string `param:"username" from:"auth"`
	// Password may be empty in mode basic.
	Password string `param:"password" from:"auth"`
	// CA is a PEM bundle of certificate authorities to trust beside the
	// system's.
	CA string `param:"ca" from:"auth"`
	// Cert is the PEM client certificate of mode tls.
	Cert string `param:"cert" from:"auth"`
	// Key is the PEM private key of cert.
	Key string `param:"key" from:"auth"`
	// CustomAuthHeader is the name of the header of mode custom.
	CustomAuthHeader string `param:"customAuthHeader" from:"auth"`
	// CustomAuthValue is the value of the header of mode custom.
	CustomAuthValue string `param:"customAuthValue" from:"auth"`
	// APIKey is the key of mode apiKey.
	APIKey string `param:"apiKey" from:"trigger,auth" secret:"true"`
	// Method is where the API key goes.
	Method string `param:"method" from:"trigger,auth" default:"header" enum:"header,query"`
	// KeyParamName is the name of the header or query parameter that carries
	// the API key: X-API-KEY or api_key when absent.
	KeyParamName string `param:"keyParamName" from:"trigger,auth"`
}

// Has reports whether mode is among authModes.
func (p HTTPAuthParams) Has(mode string) bool { return slices.Contains(p.AuthModes, mode) }

// Validate checks that each mode has what it needs. Its texts say what is there
// and never how it reads.
func (p HTTPAuthParams) Validate() error {
	var problems []error
	needs := func(mode string, given ...bool) {
		if p.Has(mode) && slices.Contains(given, false) {
			problems = append(problems, p.missing(mode, given))
		}
	}
	needs("apiKey", p.APIKey != "")
	needs("basic", p.Username != "")
	needs("bearer", p.BearerToken != "")
	needs("tls", p.Cert != "", p.Key != "")
	needs("oauth", p.OAuthTokenURI != "", p.ClientID != "")
	needs("custom", p.CustomAuthHeader != "", p.CustomAuthValue != "")
	return errors.Join(problems...)
}

// modeNeeds are the parameters that a mode cannot do without.
var modeNeeds = map[string][]string{
	"apiKey": {"apiKey"},
	"basic":  {"username"},
	"bearer": {"bearerToken"},
	"tls":    {"cert", "key"},
	"oauth":  {"oauthTokenURI", "clientID"},
	"custom": {"customAuthHeader", "customAuthValue"},
}

func (p HTTPAuthParams) missing(mode string, given []bool) error {
	parts := make([]string, len(given))
	for i, there := range given {
		parts[i] = modeNeeds[mode][i] + " is <empty>"
		if there {
			parts[i] = modeNeeds[mode][i] + " is <present>"
		}
	}
	return fmt.Errorf("authModes: %s needs %s: %s", mode, strings.Join(modeNeeds[mode], " and "), strings.Join(parts, ", "))
}

// TLS returns the TLS parameters of the block.
func (p HTTPAuthParams) TLS() TLSParams {
	if !p.Has("tls") {
		return TLSParams{CA: p.CA}
	}
	return TLSParams{CA: p.CA, Cert: p.Cert, Key: p.Key}
}

// Authorize returns what adds the credentials of all modes to a request, for
// HTTPOptions. Tokens of mode oauth are fetched through client, which has no
// Authorize of its own; it may be nil without that mode.
func (p HTTPAuthParams) Authorize(client *HTTPClient) func(*http.Request) error {
	var bearer func(*http.Request) error
	if p.Has("oauth") {
		bearer = p.OAuthParams.Authorize(client)
	}
	return func(request *http.Request) error {
		switch {
		case p.Has("basic"):
			request.SetBasicAuth(p.Username, p.Password)
		case p.Has("bearer"):
			request.Header.Set("Authorization", "Bearer "+p.BearerToken)
		}
		if p.Has("custom") {
			request.Header.Set(p.CustomAuthHeader, p.CustomAuthValue)
		}
		if p.Has("apiKey") {
			p.addKey(request)
		}
		if bearer != nil {
			return bearer(request)
		}
		return nil
	}
}

func (p HTTPAuthParams) addKey(request *http.Request) {
	name := p.KeyParamName
	if p.Method == "header" {
		if name == "" {
			name = "X-API-KEY"
		}
		request.Header.Set(name, p.APIKey)
		return
	}
	if name == "" {
		name = "api_key"
	}
	query := request.URL.Query()
	query.Set(name, p.APIKey)
	request.URL.RawQuery = query.Encode()
}
