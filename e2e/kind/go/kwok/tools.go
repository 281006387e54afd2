//go:build tools

// Package tools names the commands of KWOK. They have a module of their own because they are built
// on a newer Kubernetes than the cluster's.
package tools

import (
	_ "sigs.k8s.io/kwok/cmd/kwok"
	_ "sigs.k8s.io/kwok/cmd/kwokctl"
)
