package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// notInstalled says which program is missing and how to get it.
func notInstalled(what string) error {
	return fmt.Errorf("%s is not installed: run make test-servers", what)
}

// kafkaJars returns the class path of Apache Kafka: KAFKA_HOME/libs if that is
// set, else bin/kafka/libs of the repository around the working directory or
// the running binary.
func kafkaJars() (string, error) {
	if home := os.Getenv("KAFKA_HOME"); home != "" {
		return filepath.Join(home, "libs", "*"), nil
	}
	libs, err := inBin("Apache Kafka", "kafka", "libs")
	if err != nil {
		return "", err
	}
	return filepath.Join(libs, "*"), nil
}

// python returns the interpreter of the venv with what python-requirements.txt
// names.
func python() (string, error) { return inBin("Moto", "python", "bin", "python") }

// inBin returns a path below bin/ of the repository around the working
// directory or the running binary.
func inBin(what string, path ...string) (string, error) {
	for _, start := range []func() (string, error){os.Getwd, os.Executable} {
		dir, err := start()
		if err != nil {
			continue
		}
		for {
			found := filepath.Join(append([]string{dir, "bin"}, path...)...)
			if _, err := os.Stat(found); err == nil {
				return found, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", notInstalled(what)
}

// java returns the Java runtime: JAVA_HOME's, else the one in PATH.
func java() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", "java"), nil
	}
	return lookup("java")
}

// rabbitMQProgram returns RabbitMQ's own start script. The one that Debian puts
// into PATH is a wrapper that becomes the system's user and reads the system's
// configuration.
func rabbitMQProgram() (string, error) {
	for _, pattern := range []string{
		"/usr/lib/rabbitmq/bin/rabbitmq-server",
		"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server",
	} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return lookup("rabbitmq-server")
}

func lookup(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", notInstalled(program)
	}
	return path, nil
}
