// Command dials refuses connections that pass by the rules of package outbound.
package main

import "golang.org/x/tools/go/analysis/singlechecker"

func main() { singlechecker.Main(analyzer) }
