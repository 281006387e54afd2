//go:build tools

// Package tools names the commands of prometheus-operator, which have Kubernetes modules of their
// own release, and so a module of their own.
package tools

import (
	_ "github.com/prometheus-operator/prometheus-operator/cmd/operator"
	_ "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader"
)
