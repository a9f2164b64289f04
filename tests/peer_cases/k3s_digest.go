// Prints the digest of an image as k3s finds it by a registries.yaml.
package main

import (
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/rancher/wharfie/pkg/registries"
)

func main() {
	digest, err := digest(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(digest)
}

func digest(file, image string) (string, error) {
	registry, err := registries.GetPrivateRegistries(file)
	if err != nil {
		return "", err
	}
	reference, err := name.ParseReference(image)
	if err != nil {
		return "", err
	}
	found, err := registry.Image(reference)
	if err != nil {
		return "", err
	}
	hash, err := found.Digest()
	return hash.String(), err
}
