package credentials

import (
	"encoding/json"
	"path/filepath"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/readable"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// filePath takes all parameters from a JSON file below the root directory that
// the installation chose.
func (w *work) filePath(path string) error {
	switch {
	case !w.cluster:
		return invalid("is for ClusterTriggerAuthentications alone")
	case w.FilePathRoot == "":
		return words.Errorf(codes.FailedPrecondition, "the family is not started with --filepath-auth-root-path")
	case !filepath.IsLocal(path):
		return invalid("%q is not a path below the root directory", path)
	}
	content, err := readable.Below(w.FilePathRoot, path)
	if err != nil {
		return err
	}
	var parameters map[string]string
	if json.Unmarshal(content, &parameters) != nil {
		return invalid("file %q: is not a JSON object of texts", path)
	}
	w.creds.Parameters = parameters
	return nil
}
