// Prints the endpoints that k3s reads for a registry in a registries.yaml.
package main

import (
	"fmt"
	"os"

	"github.com/rancher/wharfie/pkg/registries"
)

func main() {
	read, err := registries.GetPrivateRegistries(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, endpoint := range read.Registry.Mirrors[os.Args[2]].Endpoints {
		fmt.Println(endpoint)
	}
}
