package servers

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// AzuriteOptions says what kind of Azurite to start. The zero value is one at
// 127.0.0.1 without TLS.
type AzuriteOptions struct {
	// Address is where it binds; default 127.0.0.1.
	Address string
	// Authority makes it serve over TLS alone, with a certificate of it for
	// Address, and take tokens of Entra, too.
	Authority *Authority
	// Dir holds the log and the data and is kept; default: a folder that Close
	// removes.
	Dir string
}

// AzuriteAccount and AzuriteKey are the storage account that Azurite serves, and
// everybody knows.
const (
	AzuriteAccount = "devstoreaccount1"
	AzuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// AzuriteServer is a running Azurite: blobs and queues of Azure Storage. It writes
// its data every five seconds: what came later is gone after a Kill and a Restart,
// see MessagesWritten.
type AzuriteServer struct {
	single

	dir         string
	scheme      string
	blob, queue string // host:port
}

// StartAzurite starts a server and returns when it answers. ctx bounds the
// start; the server lives until Close.
func StartAzurite(ctx context.Context, o AzuriteOptions) (*AzuriteServer, error) {
	a := &AzuriteServer{scheme: "http"}
	if err := a.start(ctx, o); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *AzuriteServer) start(ctx context.Context, o AzuriteOptions) error {
	program, err := inBin("Azurite", "azurite", "node_modules", "azurite", "dist", "src", "azurite.js")
	if err != nil {
		return err
	}
	node, err := lookup("node")
	if err != nil {
		return err
	}
	dir, log, err := a.settle("azurite", o.Dir)
	if err != nil {
		return err
	}
	o.Address = cmp.Or(o.Address, loopback)
	ports, err := freePorts(ctx, o.Address, 3)
	if err != nil {
		return err
	}
	a.dir = dir
	a.blob, a.queue = hostPort(o.Address, ports[0]), hostPort(o.Address, ports[1])
	args := []string{program, "--silent", "--disableTelemetry", "--location", dir}
	for i, service := range []string{"blob", "queue", "table"} {
		args = append(args, "--"+service+"Host", o.Address, "--"+service+"Port", fmt.Sprint(ports[i]))
	}
	if o.Authority != nil {
		a.scheme = "https"
		certificate, err := a.certify(dir, o)
		if err != nil {
			return err
		}
		args = append(args, certificate...)
	}
	a.Node = &Node{
		name: "azurite",
		log:  log,
		command: func() *exec.Cmd {
			// Lives until Node ends it, not until a context does.
			cmd := exec.Command(node, args...) //nolint:noctx // see above
			cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
			return cmd
		},
		mark:  "Queue service is successfully listening",
		probe: a.probe,
	}
	return a.Restart(ctx)
}

// certify writes a certificate and returns the arguments that name it.
func (a *AzuriteServer) certify(dir string, o AzuriteOptions) ([]string, error) {
	certificate, key, err := o.Authority.Server(o.Address)
	if err != nil {
		return nil, err
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(os.WriteFile(certFile, certificate, 0o600), os.WriteFile(keyFile, key, 0o600))
	return []string{"--cert", certFile, "--key", keyFile, "--oauth", "basic"}, err
}

// probe succeeds when both services take connections: over TLS no more is known
// before somebody trusts the authority.
func (a *AzuriteServer) probe(ctx context.Context) error {
	for _, address := range []string{a.blob, a.queue} {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		conn.Close()
	}
	return nil
}

// MessagesWritten waits until so many messages are on disk, each with where its text
// is, so that they survive a Kill.
func (a *AzuriteServer) MessagesWritten(ctx context.Context, messages int) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		n, err := a.messagesWritten()
		if err != nil || n >= messages {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d messages are written: %w", n, messages, ctx.Err())
		}
	}
}

// messagesWritten is how many there are in the files, which Azurite replaces as a
// whole.
func (a *AzuriteServer) messagesWritten() (int, error) {
	queues, err := os.ReadFile(filepath.Join(a.dir, "__azurite_db_queue__.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	extents, err := os.ReadFile(filepath.Join(a.dir, "__azurite_db_queue_extent__.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var all struct {
		Collections []struct {
			Data []struct {
				Message string `json:"messageId"`
				Text    struct {
					Extent string `json:"id"`
				} `json:"persistency"`
			} `json:"data"`
		} `json:"collections"`
	}
	if err := json.Unmarshal(queues, &all); err != nil {
		return 0, err
	}
	n := 0
	for _, collection := range all.Collections {
		for _, one := range collection.Data {
			if one.Message != "" && one.Text.Extent != "" && bytes.Contains(extents, []byte(strconv.Quote(one.Text.Extent))) {
				n++
			}
		}
	}
	return n, nil
}

// BlobURL and QueueURL are where the account's services answer.
func (a *AzuriteServer) BlobURL() string { return a.scheme + "://" + a.blob + "/" + AzuriteAccount }

// QueueURL is that of the queues.
func (a *AzuriteServer) QueueURL() string { return a.scheme + "://" + a.queue + "/" + AzuriteAccount }

// BlobAddr and QueueAddr are the host:port of the services, for a fault.Proxy
// for example.
func (a *AzuriteServer) BlobAddr() string { return a.blob }

// QueueAddr is that of the queues.
func (a *AzuriteServer) QueueAddr() string { return a.queue }

// Connection is the connection string of the account, with its key.
func (a *AzuriteServer) Connection() string { return AzuriteConnection(a.BlobURL(), a.QueueURL()) }

// AzuriteConnection is that of services at other places.
func AzuriteConnection(blobURL, queueURL string) string {
	return strings.Join([]string{
		"DefaultEndpointsProtocol=http", "AccountName=" + AzuriteAccount, "AccountKey=" + AzuriteKey,
		"BlobEndpoint=" + blobURL, "QueueEndpoint=" + queueURL,
	}, ";")
}
