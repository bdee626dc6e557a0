// Command pause does nothing until it is told to end: the sandbox of every Pod
// of a node, and a workload that takes next to no memory.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}
