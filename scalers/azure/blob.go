package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// azureBlob scales on the blobs of one container.
var azureBlob = scaler.Define("azure-blob", openBlob)

// blobParams is the metadata of an azure-blob trigger.
type blobParams struct {
	storageParams

	// BlobContainerName is the container.
	BlobContainerName string `param:"blobContainerName,required"`
	// BlobCount is the target: blobs one replica is expected to carry.
	BlobCount int64 `param:"blobCount" default:"5" role:"target" unit:"blobs"`
	// ActivationBlobCount is the activation threshold.
	ActivationBlobCount int64 `param:"activationBlobCount" default:"0" role:"activation" unit:"blobs"`
	// BlobPrefix is what names of blobs begin with that count. Unless recursive
	// is set the delimiter follows it: it is the name of a folder.
	BlobPrefix string `param:"blobPrefix"`
	// BlobDelimiter ends names of folders, in which nothing is counted.
	BlobDelimiter string `param:"blobDelimiter" default:"/"`
	// Recursive also counts what is in folders.
	Recursive bool `param:"recursive" default:"false"`
	// GlobPattern is what whole names of blobs match that count, in folders, too:
	// * stands for any text, slashes included, ? for one character.
	GlobPattern string `param:"globPattern"`
	// Connection is the connection string of the storage account, with a key or
	// a shared access signature. Pod identity azure-workload ignores it.
	Connection string `param:"connection" from:"auth,env,trigger" secret:"true"`
}

// Validate checks the pattern, and that there is a way to the account.
func (p blobParams) Validate() error {
	problems := []error{p.check(p.Connection, "blob")}
	if _, err := p.glob(); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// Warnings are about what is given in vain.
func (p blobParams) Warnings() []string { return p.warnings(p.Connection) }

// Name is that of the container.
func (p blobParams) Name() string { return scaler.MetricName("azure-blob", p.BlobContainerName) }

// glob is the pattern, "" for none.
func (p blobParams) glob() (string, error) {
	if p.GlobPattern == "" {
		return "", nil
	}
	if len(p.GlobPattern) > longestGlob {
		return "", fmt.Errorf("globPattern: has more than %d bytes", longestGlob)
	}
	if _, err := compileGlob(strings.TrimPrefix(p.GlobPattern, "/")); err != nil {
		return "", fmt.Errorf("globPattern: %q %w", p.GlobPattern, err)
	}
	return p.GlobPattern, nil
}

const (
	// longestGlob bounds a pattern, in bytes: each name may meet all of it at each
	// character.
	longestGlob = 512
	// longestName bounds the names that are held against one: Azure allows no
	// more characters.
	longestName = 1024
)

// delimiter ends folders, "" where they count as everything else.
func (p blobParams) delimiter() string {
	if p.Recursive {
		return ""
	}
	return p.BlobDelimiter
}

// prefix is what names begin with.
func (p blobParams) prefix() string {
	if p.BlobPrefix == "" {
		return ""
	}
	return p.BlobPrefix + p.delimiter()
}

// blobSource counts blobs of one container.
type blobSource struct {
	*storage
	container string
	query     url.Values
	pattern   string // of names; "" for all
}

func openBlob(ctx context.Context, p blobParams) (scaler.Source, error) {
	s, err := p.open(ctx, p.Connection, "blob")
	if err != nil {
		return nil, err
	}
	pattern, err := p.glob()
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "%w", err)
	}
	query := url.Values{"restype": {"container"}, "comp": {"list"}}
	if prefix := p.prefix(); prefix != "" {
		query.Set("prefix", prefix)
	}
	if delimiter := p.delimiter(); delimiter != "" && pattern == "" {
		query.Set("delimiter", delimiter)
	}
	return &blobSource{storage: s, container: p.BlobContainerName, query: query, pattern: pattern}, nil
}

// Read counts the blobs of all pages.
func (s *blobSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	what := "container " + s.container
	query := url.Values{}
	for name, values := range s.query {
		query[name] = values
	}
	blobs := 0
	for {
		found, next, err := s.page(ctx, what, query)
		if err != nil {
			return nil, err
		}
		blobs += found
		switch {
		case next == "":
			return scaler.One(float64(blobs)), nil
		case next == query.Get("marker"):
			return nil, scaler.Errorf(codes.Unavailable, "%s: the list goes on with the page that was just read", what)
		}
		query.Set("marker", next)
	}
}

// page reads one page, and says where the next one begins.
func (s *blobSource) page(ctx context.Context, what string, query url.Values) (blobs int, next string, err error) {
	held, release := client.Held(ctx)
	defer release()
	answer, err := s.get(held, url.PathEscape(s.container), query)
	if err != nil {
		return 0, "", s.failure(what, err)
	}
	blobs, next, err = s.count(held, answer.Body)
	if err != nil {
		return 0, "", misunderstood(what, err)
	}
	return blobs, next, nil
}

// count is how many blobs of a page count, and where the next one begins.
func (s *blobSource) count(ctx context.Context, page []byte) (blobs int, next string, err error) {
	var pattern *regexp.Regexp // compiled for a page: a text is all that is kept of it
	if s.pattern != "" {
		if pattern, err = compileGlob(strings.TrimPrefix(s.pattern, "/")); err != nil {
			return 0, "", err
		}
	}
	name := ""
	err = eachElement(ctx, page, "EnumerationResults", func(e element) error {
		switch e.path {
		case "EnumerationResults/Blobs/Blob/Name":
			name = e.name()
		case "EnumerationResults/Blobs/Blob":
			if pattern == nil || utf8.RuneCountInString(name) <= longestName && pattern.MatchString(name) {
				blobs++
			}
			name = ""
		case "EnumerationResults/NextMarker":
			next = e.text
		}
		return nil
	})
	return blobs, next, err
}

// name is that of a blob: with characters that XML has not, it is escaped.
func (e element) name() string {
	if strings.EqualFold(e.attribute("Encoded"), "true") {
		if plain, err := url.PathUnescape(e.text); err == nil {
			return plain
		}
	}
	return e.text
}
