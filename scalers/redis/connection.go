package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// mode is how the servers behind the addresses belong together.
type mode string

const (
	single   mode = "redis"
	cluster  mode = "redis cluster"
	sentinel mode = "redis sentinel"
)

// connectionParams say where Redis is and who asks.
type connectionParams struct {
	client.TLSParams

	// Address has host:port of the server, or of several, separated by commas.
	// A single server is the first one; a cluster or Sentinel needs only some
	// of them.
	Address []string `param:"address" alias:"addresses" from:"trigger,auth,env" together:"host,hosts"`
	// Host has host names or IP addresses, separated by commas, each with the
	// port at the same position. They come after those of address.
	Host []string `param:"host" alias:"hosts" from:"trigger,env,auth" together:"address,addresses"`
	// Port has the ports of host.
	Port []string `param:"port" alias:"ports" from:"trigger,env,auth"`
	// Username is an ACL user of Redis.
	Username string `param:"username" from:"trigger,env,auth"`
	// Password logs in to Redis.
	Password string `param:"password" from:"trigger,env,auth" secret:"true"`
	// EnableTLS encrypts the connections.
	EnableTLS *bool `param:"enableTLS"`
	// TLS says enable or disable, where enableTLS does not.
	TLS string `param:"tls" from:"auth" enum:"enable,disable"`
	// UnsafeSSL accepts any certificate of the server.
	UnsafeSSL bool `param:"unsafeSsl" default:"false"`
}

// connection is how any of the types connects.
func (p connectionParams) connection() connectionParams { return p }

// flavour is which kind of servers there are, and what only some of them have.
type flavour struct {
	mode     mode
	database int
	sentinelParams
}

// databaseParams are for servers with several databases; a cluster has one.
type databaseParams struct {
	// DatabaseIndex is the database of the key.
	DatabaseIndex int `param:"databaseIndex" default:"0"`
}

func (p databaseParams) flavour() flavour { return flavour{mode: single, database: p.DatabaseIndex} }

// clusterDatabase accepts what the other types need and a cluster does not.
type clusterDatabase struct {
	// DatabaseIndex is ignored: a cluster has one database.
	DatabaseIndex int `param:"databaseIndex" default:"0" question:"false"`
}

func (clusterDatabase) flavour() flavour { return flavour{mode: cluster} }

// sentinelDatabase is at the master that Sentinels name.
type sentinelDatabase struct {
	databaseParams
	sentinelParams
}

func (p sentinelDatabase) flavour() flavour {
	return flavour{mode: sentinel, database: p.DatabaseIndex, sentinelParams: p.sentinelParams}
}

// sentinelParams say who watches over the servers.
type sentinelParams struct {
	// SentinelMaster is the name that the Sentinels know the master by.
	SentinelMaster string `param:"sentinelMaster,required" from:"trigger,auth,env"`
	// SentinelUsername is an ACL user of the Sentinels.
	SentinelUsername string `param:"sentinelUsername" from:"trigger,auth,env"`
	// SentinelPassword logs in to the Sentinels.
	SentinelPassword string `param:"sentinelPassword" from:"trigger,auth,env" secret:"true"`
}

// Validate checks what parameters ask of each other.
func (p connectionParams) Validate() error {
	var problems []error
	if _, err := p.addresses(); err != nil {
		problems = append(problems, err)
	}
	if p.EnableTLS != nil && p.TLS != "" {
		problems = append(problems, errors.New("enableTLS: cannot be combined with the authentication parameter tls"))
	}
	if p.wantsTLS() {
		problems = append(problems, p.CheckPair())
	}
	return errors.Join(problems...)
}

// addresses are those of address, then those of host and port. Hosts without
// ports, or ports without hosts, count as absent, as in KEDA.
func (p connectionParams) addresses() ([]string, error) {
	all := filled(p.Address)
	hosts, ports := filled(p.Host), filled(p.Port)
	if len(hosts) > 0 && len(ports) > 0 {
		if len(hosts) != len(ports) {
			return nil, fmt.Errorf("host: has %d elements and port has %d, not one port for each host", len(hosts), len(ports))
		}
		for i, host := range hosts {
			all = append(all, net.JoinHostPort(host, ports[i]))
		}
	}
	if len(all) == 0 {
		return nil, errors.New("address: no addresses or hosts: give address, or host and port")
	}
	return all, client.CheckServers("address", len(all))
}

func filled(list []string) []string {
	var some []string
	for _, element := range list {
		if element != "" {
			some = append(some, element)
		}
	}
	return some
}

// encrypted is the configuration of TLS, nil for none.
func (p connectionParams) encrypted() (*tls.Config, error) {
	if !p.wantsTLS() {
		return nil, nil
	}
	return p.Config(p.UnsafeSSL)
}

func (p connectionParams) wantsTLS() bool {
	return p.TLS == "enable" || p.EnableTLS != nil && *p.EnableTLS
}

// Limits of a connection.
const (
	// answerLimit bounds one answer, so that a server that stalls does not use
	// up the time of the others that are read together with it.
	answerLimit = 3 * time.Second
	// poolSize is the most connections to one server, for reads. One carries a
	// whole batch.
	poolSize = 4
	// bufferSize is what each connection reads and writes at once, in bytes.
	bufferSize = 16 << 10
)

// options are those of every client here.
func (p connectionParams) options(addresses []string, dial dialFunc) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs: addresses, Username: p.Username, Password: p.Password, Dialer: dial,
		Protocol: 2, // its answers are the same for every server
		// The caller's deadline is in force, within these limits.
		ContextTimeoutEnabled: true,
		DialTimeout:           answerLimit, ReadTimeout: answerLimit, WriteTimeout: answerLimit,
		DialerRetries: 1, MaxRetries: 1, // a connection that the server has closed meanwhile
		PoolSize: poolSize, PipelinePoolSize: poolSize,
		ReadBufferSize: bufferSize, WriteBufferSize: bufferSize,
		PipelineReadBufferSize: bufferSize, PipelineWriteBufferSize: bufferSize,
		// Users with few permissions may not even say who they are.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// dialFunc opens a connection that is ready for Redis's protocol.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialer opens connections to where the trigger's credentials may go, with TLS
// when config is not nil, over which servers may send what resp lets through.
func dialer(allowed *client.Dialer, config *tls.Config) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		allowed := allowed.Guarded(client.Guard{
			ReadBytes: mostRead,
			Protocol:  func() client.Checker { return newRESP(boundsOf(ctx), allowed.Decoded) },
		})
		if config == nil {
			return allowed.DialContext(ctx, network, address)
		}
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		return allowed.DialTLS(ctx, network, address, config)
	}
}

type besideKey struct{}

// beside is dial for connections over which nothing is read but what a server
// tells by itself, or a Sentinel.
func beside(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(context.WithValue(ctx, besideKey{}, true), network, address)
	}
}

// boundsOf are those of a connection that is dialled.
func boundsOf(ctx context.Context) bounds {
	if ctx.Value(besideKey{}) != nil {
		return besideReads
	}
	return ofReads
}

// server is Redis as one identity: one server, a cluster, or the master that
// Sentinels name. Its sources are read together.
type server struct {
	what   string // for errors: mode and addresses
	mode   mode
	client redis.UniversalClient
	// node returns the client of the server that has a key.
	node      func(ctx context.Context, key string) (*redis.Client, error)
	nodes     *nodes     // of a cluster, else nil
	sentinels *sentinels // that name the master, else nil
	scripts   scripts
	doorbell  *client.SharedDoorbell
	end       context.CancelFunc // of all connections
	check     time.Duration      // how often the doorbell's keys are told again
}

// open opens the source of any of the types.
func open[P interface {
	connection() connectionParams
	flavour() flavour
	source(*server) *source
}](ctx context.Context, p P) (scaler.Source, error) {
	s, err := share(ctx, p.connection(), p.flavour())
	if err != nil {
		return nil, err
	}
	return scaler.Join(s, p.source(s)), nil
}

// share returns the one client for the same servers, database and identity.
func share(ctx context.Context, p connectionParams, f flavour) (*server, error) {
	addresses, err := p.addresses()
	if err != nil {
		return nil, err
	}
	if f.mode == single {
		addresses = addresses[:1]
	}
	encrypted := p.EnableTLS != nil && *p.EnableTLS
	login := []any{p.Username, p.Password, p.TLS, encrypted, p.UnsafeSSL, p.TLSParams}
	return client.Shared(ctx, []any{f, addresses, login}, func(ctx context.Context) (*server, error) {
		config, err := p.encrypted()
		if err != nil {
			return nil, err
		}
		life, end := context.WithCancel(context.WithoutCancel(ctx))
		options := p.options(addresses, until(life, dialer(client.DialerOf(ctx), config)))
		options.DB, options.MasterName = f.database, f.SentinelMaster
		options.SentinelUsername, options.SentinelPassword = f.SentinelUsername, f.SentinelPassword
		return newServer(ctx, f.mode, options, end)
	})
}

// newServer connects to nothing yet: the first read does.
func newServer(ctx context.Context, m mode, options *redis.UniversalOptions, end context.CancelFunc) (*server, error) {
	s := &server{
		mode: m, what: string(m) + " " + strings.Join(options.Addrs, ","),
		doorbell: client.NewSharedDoorbell(ctx), check: check, end: end,
	}
	switch m {
	case cluster:
		var err error
		if s.nodes, err = newNodes(ctx, options.Cluster()); err != nil {
			s.doorbell.Close()
			end()
			return nil, err
		}
		s.client = s.nodes.cluster
		s.node = s.nodes.cluster.MasterForKey
	case sentinel:
		s.sentinels = newSentinels(options)
		own := options.Simple()
		own.Addr, own.Dialer = options.MasterName, s.sentinels.dial
		s.one(redis.NewClient(own)) //dials:through the Dialer of its options
	default:
		s.one(redis.NewClient(options.Simple())) //dials:through the Dialer of its options
	}
	return s, nil
}

// one is for a client whose keys are all in one place.
func (s *server) one(client *redis.Client) {
	s.client = client
	s.node = func(context.Context, string) (*redis.Client, error) { return client, nil }
}

// locate returns how to reach the server that has a key.
func (s *server) locate(ctx context.Context, key string) (*redis.Options, error) {
	node, err := s.node(ctx, key)
	if err != nil {
		return nil, err
	}
	return node.Options(), nil
}

// named is what errors of the server at an address are said to be from: in a
// cluster it is one of several.
func (s *server) named(address string) string {
	if s.mode == cluster {
		return s.what + ": server " + address
	}
	return s.what
}

// Cost counts the connections of reads and those of a doorbell.
func (*server) Cost() int { return 160 << 10 }

// Close ends all connections.
func (s *server) Close() error {
	s.end()
	s.doorbell.Close()
	if s.nodes != nil {
		s.nodes.close()
	}
	if s.sentinels != nil {
		s.sentinels.close()
	}
	return s.client.Close()
}
