package servers

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// kafkaJVM starts Kafka's programs.
type kafkaJVM struct {
	java, jars, heap string
}

func newKafkaJVM(heapMiB int) (kafkaJVM, error) {
	jars, err := kafkaJars()
	if err != nil {
		return kafkaJVM{}, err
	}
	java, err := java()
	if err != nil {
		return kafkaJVM{}, err
	}
	return kafkaJVM{java: java, jars: jars, heap: "-Xmx" + strconv.Itoa(heapMiB) + "m"}, nil
}

// format prepares the broker's data folder, with the users' SCRAM secrets.
func (j kafkaJVM) format(clusterID string, b kafkaBroker, users map[string]string) *exec.Cmd {
	args := []string{"format", "--cluster-id", clusterID, "--config", b.properties(), "--ignore-formatted"}
	for _, name := range slices.Sorted(maps.Keys(users)) {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, name, users[name]))
		}
	}
	return j.main(b, "kafka.tools.StorageTool", args...)
}

func (j kafkaJVM) server(b kafkaBroker) *exec.Cmd {
	return j.main(b, "kafka.Kafka", b.properties())
}

// main runs a class with settings that favour a quick start over a fast run.
func (j kafkaJVM) main(b kafkaBroker, class string, args ...string) *exec.Cmd {
	// Lives until Node ends it, not until a context does.
	cmd := exec.Command(j.java, append([]string{ //nolint:noctx // see above
		j.heap, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto",
		"-Dlog4j2.configurationFile=" + filepath.Join(b.dir, "log4j2.properties"),
		"-cp", j.jars, class,
	}, args...)...)
	cmd.Dir = b.dir
	return cmd
}

// probeKafka asks a broker for its API versions, the one request that every
// version of Kafka answers.
//
// Source: https://kafka.apache.org/protocol#The_Messages_ApiVersions
func probeKafka(ctx context.Context, address string) error {
	request := []byte{
		0, 0, 0, 10, // size
		0, 18, 0, 0, // ApiVersions, version 0
		0, 0, 0, 1, // correlation id
		0xff, 0xff, // no client id
	}
	answer := make([]byte, 10) // size, correlation id, error code
	if err := exchange(ctx, address, request, answer); err != nil {
		return err
	}
	if code := binary.BigEndian.Uint16(answer[8:]); code != 0 {
		return fmt.Errorf("api versions: error code %d", code)
	}
	return nil
}

// exchange sends a request over a new connection and reads len(answer) bytes.
func exchange(ctx context.Context, address string, request, answer []byte) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, answer)
	return err
}

func nowSeconds() int64 { return time.Now().Unix() }
