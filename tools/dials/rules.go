package main

import (
	"go/types"
	"regexp"
)

// rule names what dials: objects of packages.
type rule struct {
	packages, names *regexp.Regexp
	instead         string
}

func (r rule) matches(object types.Object) bool {
	return r.packages.MatchString(object.Pkg().Path()) && r.names.MatchString(object.Name())
}

func forbid(packages, names, instead string) rule {
	return rule{regexp.MustCompile("^(" + packages + ")$"), regexp.MustCompile("^(" + names + ")$"), instead}
}

// Ways to do it by the rules.
const (
	plainly = "dial with outbound.Dial, or the Dialer of a source"
	client  = "make the client with outbound.NewTransport and outbound.Client"
	library = "give the library a dialer or a client of package outbound, and say so"
)

// functions dial, or make clients that do.
var functions = []rule{
	forbid(`net`, `Dial.*`, plainly),
	forbid(`net/(smtp|rpc|rpc/jsonrpc|textproto)`, `Dial.*`, plainly),
	forbid(`crypto/tls`, `Dial.*`, plainly),
	forbid(`net/http`, `DefaultClient|DefaultTransport|Get|Head|Post|PostForm`, client),
	forbid(`golang\.org/x/net/(websocket|proxy)`, `Dial.*|Direct|FromEnvironment|SOCKS5`, plainly),
	forbid(`google\.golang\.org/grpc`, `NewClient|Dial.*`, library),

	forbid(`github\.com/aws/aws-sdk-go-v2/config`, `Load.*`, library),
	forbid(`github\.com/aws/aws-sdk-go-v2/aws/transport/http`, `NewBuildableClient`, library),
	forbid(`github\.com/aws/aws-sdk-go-v2/(service|feature)/.+`, `New`, library),
	forbid(`github\.com/Azure/azure-sdk-for-go/sdk/.+`, `New.*(Client|Credential).*|NewPipeline`, library),
	forbid(`golang\.org/x/oauth2`, `NewClient`, library),
	forbid(`golang\.org/x/oauth2/google(/.+)?`, `Default.*|Find.*|Credentials.*|ComputeTokenSource|JWT.*|ConfigFromJSON|New.*`, library),
	forbid(`cloud\.google\.com/go/compute/metadata`, `.*`, library),
	forbid(`cloud\.google\.com/go/.+|google\.golang\.org/api/.+`, `New.*|Dial.*`, library),
	forbid(`github\.com/hashicorp/vault/api`, `NewClient|DefaultConfig`, library),

	forbid(`github\.com/twmb/franz-go/pkg/kgo`, `NewClient`, library),
	forbid(`github\.com/twmb/franz-go/pkg/kadm`, `NewOptClient`, library),
	forbid(`github\.com/(jcmturner/gokrb5|go-krb5/krb5)(/.+)?/client`, `New.*`, library),
	forbid(`github\.com/redis/go-redis/.+`, `New.*(Client|Ring)|NewDialer`, library),
	forbid(`github\.com/rabbitmq/amqp091-go`, `Dial.*|DefaultDial`, library),
	forbid(`database/sql`, `Open|OpenDB`, library),
	forbid(`github\.com/jackc/pgx/v5(/.+)?`, `Connect.*|New|NewWithConfig`, library),
	forbid(`github\.com/go-sql-driver/mysql`, `NewConnector`, library),
	forbid(`github\.com/microsoft/go-mssqldb(/.+)?`, `New.*Connector.*`, library),

	forbid(`github\.com/cloudevents/sdk-go/.+`, `NewClient.*|NewHTTP|NewProtocol|New`, library),
	forbid(`go\.opentelemetry\.io/otel/exporters/.+`, `New.*`, library),
}

// values dial as soon as one is used.
var values = []rule{
	forbid(`net`, `Dialer`, plainly),
	forbid(`crypto/tls`, `Dialer`, plainly),
	forbid(`net/http`, `Client|Transport`, client),
	forbid(`golang\.org/x/oauth2/(clientcredentials|jwt)`, `Config`, library),
}
