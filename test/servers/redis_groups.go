package servers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// RedisMaster is the name that Sentinels know their master by.
const RedisMaster = "sluice-master"

// RedisSentinel is a master, its replica and the Sentinels that watch them.
type RedisSentinel struct {
	// Servers are the first master and its replica.
	Servers []*Node
	// Sentinels are three; two of them elect a new master.
	Sentinels []*Node
	// Authority signed all certificates; nil without TLS.
	Authority *Authority

	group     redisGroup
	servers   []string
	sentinels []string
}

// StartRedisSentinel starts two servers and three Sentinels and returns when
// the Sentinels know each other and both servers.
func StartRedisSentinel(ctx context.Context, o RedisOptions) (*RedisSentinel, error) {
	o.Address = cmp.Or(o.Address, loopback)
	s := &RedisSentinel{group: redisGroup{options: o}}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *RedisSentinel) start(ctx context.Context) error {
	if err := s.group.open(); err != nil {
		return err
	}
	s.Authority = s.group.authority
	for _, name := range []string{"master", "replica"} {
		config := s.group.server(name)
		if len(s.servers) > 0 {
			config += "replicaof " + strings.ReplaceAll(s.servers[0], ":", " ") + "\n"
		}
		node, address, err := s.group.add(ctx, name, "redis-server", config)
		if err != nil {
			return err
		}
		s.Servers, s.servers = append(s.Servers, node), append(s.servers, address)
	}
	if err := each(s.Servers, func(n *Node) error { return n.Restart(ctx) }); err != nil {
		return err
	}
	for range 3 {
		node, address, err := s.group.add(ctx, "sentinel", "redis-sentinel", s.sentinel())
		if err != nil {
			return err
		}
		s.Sentinels, s.sentinels = append(s.Sentinels, node), append(s.sentinels, address)
	}
	if err := each(s.Sentinels, func(n *Node) error { return n.Restart(ctx) }); err != nil {
		return err
	}
	for i, node := range s.Sentinels {
		if err := until(ctx, node.process, node.name, s.acquainted(s.sentinels[i])); err != nil {
			return err
		}
	}
	return nil
}

// sentinel is the configuration of one Sentinel.
func (s *RedisSentinel) sentinel() string {
	lines := fmt.Sprintf("sentinel monitor %[1]s %[2]s 2\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 5000\n",
		RedisMaster, strings.ReplaceAll(s.servers[0], ":", " "))
	if p := s.group.options.Password; p != "" {
		lines += fmt.Sprintf("sentinel auth-pass %[1]s %[2]s\nrequirepass %[2]s\nsentinel sentinel-pass %[2]s\n", RedisMaster, p)
	}
	return lines
}

// acquainted succeeds when a Sentinel knows the replica and its two peers.
func (s *RedisSentinel) acquainted(sentinel string) func(context.Context) error {
	return func(ctx context.Context) error {
		answer, err := s.group.cli(ctx, sentinel, "SENTINEL", "MASTER", RedisMaster)
		if err != nil {
			return err
		}
		fields := strings.Split(answer, "\n")
		for name, want := range map[string]string{"num-slaves": "1", "num-other-sentinels": "2"} {
			if i := slices.Index(fields, name); i < 0 || i+1 >= len(fields) || fields[i+1] != want {
				return fmt.Errorf("%s is not %s yet", name, want)
			}
		}
		return nil
	}
}

// Addrs are the Sentinels' host:port.
func (s *RedisSentinel) Addrs() []string { return slices.Clone(s.sentinels) }

// Master asks a Sentinel for the host:port of the present master.
func (s *RedisSentinel) Master(ctx context.Context) (string, error) {
	answer, err := s.group.cli(ctx, s.sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", RedisMaster)
	return strings.ReplaceAll(answer, "\n", ":"), err
}

// Do runs one command on the present master and returns its answer.
func (s *RedisSentinel) Do(ctx context.Context, command ...string) (string, error) {
	master, err := s.Master(ctx)
	if err != nil {
		return "", err
	}
	return s.group.cli(ctx, master, command...)
}

func (s *RedisSentinel) processes() []*Node { return slices.Concat(s.Servers, s.Sentinels) }

// Close kills all processes and removes their folder.
func (s *RedisSentinel) Close() error {
	return errors.Join(each(s.processes(), (*Node).Kill), s.group.close())
}

// RedisCluster is a Redis Cluster of three masters.
type RedisCluster struct {
	// Nodes are its masters; each has a third of the slots.
	Nodes []*Node
	// Authority signed all certificates; nil without TLS.
	Authority *Authority

	group   redisGroup
	masters []string
}

// StartRedisCluster starts three masters and returns when each of them says
// that the cluster is complete.
func StartRedisCluster(ctx context.Context, o RedisOptions) (*RedisCluster, error) {
	o.Address = cmp.Or(o.Address, loopback)
	c := &RedisCluster{group: redisGroup{options: o}}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *RedisCluster) start(ctx context.Context) error {
	if err := c.group.open(); err != nil {
		return err
	}
	c.Authority = c.group.authority
	for i := range 3 {
		// The bus of the cluster needs a port of its own, by default far above
		// the range that freePorts takes from.
		bus, err := freePorts(ctx, c.group.options.Address, 1)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("node-%d", i)
		node, address, err := c.group.add(ctx, name, "redis-server", c.group.server(name)+fmt.Sprintf(
			"cluster-enabled yes\ncluster-config-file %s.nodes\ncluster-node-timeout 5000\ncluster-port %d\n", name, bus[0]))
		if err != nil {
			return err
		}
		c.Nodes, c.masters = append(c.Nodes, node), append(c.masters, address)
	}
	if err := each(c.Nodes, func(n *Node) error { return n.Restart(ctx) }); err != nil {
		return err
	}
	create := append([]string{"--cluster", "create"}, c.masters...)
	if _, err := c.group.cli(ctx, c.masters[0], append(create, "--cluster-replicas", "0", "--cluster-yes")...); err != nil {
		return err
	}
	for i, node := range c.Nodes {
		if err := until(ctx, node.process, node.name, c.complete(c.masters[i])); err != nil {
			return err
		}
	}
	return nil
}

func (c *RedisCluster) complete(master string) func(context.Context) error {
	return func(ctx context.Context) error {
		answer, err := c.group.cli(ctx, master, "CLUSTER", "INFO")
		if err == nil && !strings.Contains(answer, "cluster_state:ok") {
			err = errors.New("the cluster is not complete yet")
		}
		return err
	}
}

// Addrs are the masters' host:port.
func (c *RedisCluster) Addrs() []string { return slices.Clone(c.masters) }

// Do runs one command on the master that has its key and returns its answer.
func (c *RedisCluster) Do(ctx context.Context, command ...string) (string, error) {
	return c.group.cli(ctx, c.masters[0], append([]string{"-c"}, command...)...)
}

func (c *RedisCluster) processes() []*Node { return c.Nodes }

// Close kills all nodes and removes their folder.
func (c *RedisCluster) Close() error {
	return errors.Join(each(c.Nodes, (*Node).Kill), c.group.close())
}
