package manager

import (
	"slices"

	"go.uber.org/zap/zapcore"
)

// lazy encodes what a logger is given to say with every line when there is a
// line. Each pass of each loop makes a logger with the object's name, and
// hardly any says something.
type lazy struct {
	zapcore.Core
	fields []zapcore.Field
}

// lazily wraps a core that has no fields yet.
func lazily(core zapcore.Core) zapcore.Core { return &lazy{Core: core} }

// With adds fields.
func (l *lazy) With(fields []zapcore.Field) zapcore.Core {
	return &lazy{l.Core, append(slices.Clip(l.fields), fields...)}
}

// Check adds a core that has the fields, unless nothing is to be said.
func (l *lazy) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !l.Enabled(entry.Level) {
		return checked
	}
	return l.Core.With(l.fields).Check(entry, checked)
}

// Write says one line.
func (l *lazy) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	return l.Core.With(l.fields).Write(entry, fields)
}
