package main

import (
	"context"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

const (
	topic      = "orders"
	group      = "workers"
	partitions = 20
)

// startBroker starts a broker at address and makes a queue on it.
func startBroker(ctx context.Context, broker, address string) (brokers.Queue, func(), error) {
	switch broker {
	case "", "kfake":
		fmt.Println("starting a broker that speaks Kafka's protocol, inside this process")
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(0), kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			return net.Listen(network, net.JoinHostPort(address, "0"))
		}))
		if err != nil {
			return nil, nil, err
		}
		return kafkaQueue(ctx, cluster.ListenAddrs()[0], cluster.Close)
	case "kafka":
		fmt.Println("starting Apache Kafka")
		server, err := servers.StartKafka(ctx, servers.KafkaOptions{Address: address})
		if err != nil {
			return nil, nil, err
		}
		return kafkaQueue(ctx, server.Bootstrap(), func() { _ = server.Close() })
	case "rabbitmq":
		fmt.Println("starting RabbitMQ")
		server, err := servers.StartRabbitMQ(ctx, servers.RabbitMQOptions{Address: address})
		if err != nil {
			return nil, nil, err
		}
		queue, err := brokers.NewRabbitMQQueue(server.AMQPURL("/"), server.AMQPURL("/"), topic)
		if err != nil {
			_ = server.Close()
			return nil, nil, err
		}
		return queue, func() { queue.Close(); _ = server.Close() }, nil
	}
	return nil, nil, fmt.Errorf("BROKER=%s: choose kfake, kafka or rabbitmq", broker)
}

func kafkaQueue(ctx context.Context, bootstrap string, end func()) (brokers.Queue, func(), error) {
	queue, err := brokers.NewKafkaTopic(ctx, bootstrap, topic, group, partitions)
	if err != nil {
		end()
		return nil, nil, err
	}
	return queue, func() { queue.Close(); end() }, nil
}
