package main

import (
	"context"
	"fmt"
	"log/slog"
)

// quiet takes what the client library has to say. All that a user needs to
// know comes as an error of a read, too.
type quiet struct{}

// Printf implements the library's logger.
func (quiet) Printf(ctx context.Context, format string, args ...any) {
	slog.DebugContext(ctx, "redis client", "said", fmt.Sprintf(format, args...))
}
