// Package naked passes by the rules in every way that is known.
package naked

import (
	"crypto/tls"
	"database/sql"
	"net"
	"net/http"
	"net/rpc"
	"net/smtp"

	"cloud.google.com/go/compute/metadata"
	monitoring "cloud.google.com/go/monitoring/apiv3"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/go-sql-driver/mysql"
	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jcmturner/gokrb5/v8/client"
	mssql "github.com/microsoft/go-mssqldb"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"golang.org/x/net/proxy"
	"golang.org/x/net/websocket"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/jwt"
	"google.golang.org/api/secretmanager/v1"
	"google.golang.org/grpc"
)

func network() {
	net.Dial("tcp", "a:1")                     // want `net.Dial passes by the rules of addresses: dial with outbound.Dial`
	net.DialTimeout("tcp", "a:1", 0)           // want `net.DialTimeout passes by`
	net.DialTCP("tcp", nil, nil)               // want `net.DialTCP passes by`
	net.DialUDP("udp", nil, nil)               // want `net.DialUDP passes by`
	dial := net.Dial                           // want `net.Dial passes by`
	_, _ = dial("tcp", "a:1")                  //
	_ = net.Dialer{}                           // want `net.Dialer passes by`
	_ = &net.Dialer{Timeout: 1}                // want `net.Dialer passes by`
	_ = new(net.Dialer)                        // want `net.Dialer passes by`
	var dialer net.Dialer                      // want `net.Dialer passes by`
	_ = dialer                                 //
	tls.Dial("tcp", "a:1", nil)                // want `tls.Dial passes by`
	tls.DialWithDialer(nil, "tcp", "a:1", nil) // want `tls.DialWithDialer passes by`
	_ = tls.Dialer{}                           // want `tls.Dialer passes by`
	smtp.Dial("a:25")                          // want `smtp.Dial passes by`
	rpc.DialHTTP("tcp", "a:1")                 // want `rpc.DialHTTP passes by`
	websocket.Dial("ws://a")                   // want `websocket.Dial passes by`
	proxy.SOCKS5("a:1")                        // want `proxy.SOCKS5 passes by`
	grpc.NewClient("a:1")                      // want `grpc.NewClient passes by`
	grpc.DialContext("a:1")                    // want `grpc.DialContext passes by`
}

type zero struct {
	client http.Client // want `http.Client passes by`
}

var shared http.Transport // want `http.Transport passes by`

func web() {
	_ = http.DefaultClient           // want `http.DefaultClient passes by the rules of addresses: make the client with outbound.NewTransport`
	_ = http.DefaultTransport        // want `http.DefaultTransport passes by`
	http.Get("http://a")             // want `http.Get passes by`
	http.Head("http://a")            // want `http.Head passes by`
	http.Post("http://a", "", nil)   // want `http.Post passes by`
	http.PostForm("http://a", nil)   // want `http.PostForm passes by`
	_ = http.Client{}                // want `http.Client passes by`
	_ = &http.Client{Transport: nil} // want `http.Client passes by`
	_ = new(http.Client)             // want `http.Client passes by`
	_ = &http.Transport{}            // want `http.Transport passes by`
	_ = []http.Client{{Timeout: 1}}  // want `http.Client passes by`
	_ = []*http.Client{{Timeout: 1}} // want `http.Client passes by`
	_ = clientcredentials.Config{}   // want `clientcredentials.Config passes by`
	_ = &jwt.Config{}                // want `jwt.Config passes by`
}

func libraries() {
	config.LoadDefaultConfig()                  // want `config.LoadDefaultConfig passes by the rules of addresses: give the library a dialer`
	awshttp.NewBuildableClient()                // want `http.NewBuildableClient passes by`
	imds.New()                                  // want `imds.New passes by`
	sqs.New()                                   // want `sqs.New passes by`
	azidentity.NewWorkloadIdentityCredential(0) // want `azidentity.NewWorkloadIdentityCredential passes by`
	azidentity.NewDefaultAzureCredential(0)     // want `azidentity.NewDefaultAzureCredential passes by`
	azsecrets.NewClient(0)                      // want `azsecrets.NewClient passes by`
	oauth2.NewClient()                          // want `oauth2.NewClient passes by`
	google.FindDefaultCredentials()             // want `google.FindDefaultCredentials passes by`
	google.JWTConfigFromJSON()                  // want `google.JWTConfigFromJSON passes by`
	google.DefaultClient()                      // want `google.DefaultClient passes by`
	metadata.ProjectID()                        // want `metadata.ProjectID passes by`
	monitoring.NewMetricClient()                // want `monitoring.NewMetricClient passes by`
	secretmanager.NewService()                  // want `secretmanager.NewService passes by`
	api.DefaultConfig()                         // want `api.DefaultConfig passes by`
	api.NewClient(0)                            // want `api.NewClient passes by`
	kgo.NewClient()                             // want `kgo.NewClient passes by`
	kadm.NewOptClient()                         // want `kadm.NewOptClient passes by`
	client.NewWithPassword()                    // want `client.NewWithPassword passes by`
	redis.NewClient()                           // want `redis.NewClient passes by`
	redis.NewUniversalClient()                  // want `redis.NewUniversalClient passes by`
	redis.NewFailoverClusterClient()            // want `redis.NewFailoverClusterClient passes by`
	redis.NewRing()                             // want `redis.NewRing passes by`
	amqp.Dial("amqp://a")                       // want `amqp.Dial passes by`
	amqp.DialConfig("amqp://a")                 // want `amqp.DialConfig passes by`
	amqp.DefaultDial()                          // want `amqp.DefaultDial passes by`
	sql.Open("a", "")                           // want `sql.Open passes by`
	sql.OpenDB(nil)                             // want `sql.OpenDB passes by`
	pgx.Connect("")                             // want `pgx.Connect passes by`
	pgx.ConnectConfig(0)                        // want `pgx.ConnectConfig passes by`
	pgxpool.New("")                             // want `pgxpool.New passes by`
	mysql.NewConnector(0)                       // want `mysql.NewConnector passes by`
	mssql.NewConnectorConfig()                  // want `mssql.NewConnectorConfig passes by`
	mssql.NewSecurityTokenConnector()           // want `mssql.NewSecurityTokenConnector passes by`
	cloudevents.NewClientHTTP()                 // want `cloudevents.NewClientHTTP passes by`
	otlptracehttp.New()                         // want `otlptracehttp.New passes by`
}
