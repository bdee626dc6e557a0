package client

import "fmt"

// MostServers is how many servers a trigger may name to begin with. Clients make
// something of each of them at once, before they ask the first.
const MostServers = 100

// CheckServers refuses more than MostServers in a parameter.
func CheckServers(parameter string, servers int) error {
	if servers > MostServers {
		return fmt.Errorf("%s: names %d servers, of %d that there may be", parameter, servers, MostServers)
	}
	return nil
}
