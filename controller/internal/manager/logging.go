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

// Check adds this core, unless nothing is to be said.
func (l *lazy) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !l.Enabled(entry.Level) {
		return checked
	}
	return checked.AddCore(entry, l)
}

// Write says one line. That somebody else wrote an object first is no error,
// whatever a library says: it is told where the user asks for such lines.
func (l *lazy) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if slices.ContainsFunc(fields, conflict) {
		entry.Level, entry.Stack = zapcore.DebugLevel, ""
		if !l.Enabled(entry.Level) {
			return nil
		}
	}
	if checked := l.Core.With(l.fields).Check(entry, nil); checked != nil {
		checked.Write(fields...)
	}
	return nil
}

func conflict(f zapcore.Field) bool {
	err, ok := f.Interface.(error)
	return ok && f.Type == zapcore.ErrorType && err != nil && withoutConflicts(err) == nil
}
