package servers

import (
	"errors"
	"path/filepath"
)

// single is a server of one process, with a folder of its own.
type single struct {
	*Node

	cleanup []func() error // what Close does after the process has ended
}

// settle makes the folder, or takes dir, and opens the log in it.
func (s *single) settle(name, dir string) (string, *logFile, error) {
	dir, remove, err := ownFolder(name, dir)
	if err != nil {
		return "", nil, err
	}
	s.cleanup = append(s.cleanup, remove)
	log, err := createLog(filepath.Join(dir, "server.log"))
	if err != nil {
		return "", nil, err
	}
	s.cleanup = append(s.cleanup, log.close)
	return dir, log, nil
}

func (s *single) processes() []*Node { return present(s.Node) }

// Close kills the server and removes its folder.
func (s *single) Close() error {
	return errors.Join(each(s.processes(), (*Node).Kill), undo(s.cleanup))
}
