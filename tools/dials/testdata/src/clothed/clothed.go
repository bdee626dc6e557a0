// Package clothed keeps to the rules, and says how.
package clothed

import (
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/oauth2"
	"google.golang.org/grpc"
)

// Held clients came from elsewhere.
type held struct{ client *http.Client }

func pass(client *http.Client, transport *http.Transport, conn net.Conn) (*http.Client, net.Conn) {
	var other *http.Client
	_ = other
	return client, conn
}

func known() {
	kgo.SeedBrokers()
	config.WithRegion("")
	sqs.NewFromConfig(nil)
	kadm.NewClient(nil)
	redis.NewScript()
	amqp.Open(nil)
	mysql.ParseDSN("")
	oauth2.StaticTokenSource()
	grpc.NewServer()
	_ = http.Request{}
	_ = net.Listener(nil)
}

func explained() {
	kgo.NewClient() //dials:through kgo.Dialer

	//dials:administered the address is a flag
	net.Dial("tcp", "a:1")
	kgo.NewClient() // want `kgo.NewClient passes by`

	kgo.NewClient() //dials:nothing it is a test's own
	kgo.NewClient() // want `kgo.NewClient passes by`

	//dials:through a dialer that nobody needs // want `nothing here dials`
	kgo.SeedBrokers()

	kgo.NewClient() /* want `a reason is` `kgo.NewClient passes by` */ //dials:through
	kgo.NewClient() //dials:because it does // want `a reason is` `kgo.NewClient passes by`
}
