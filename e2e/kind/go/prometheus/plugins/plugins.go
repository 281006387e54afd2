// Package plugins is put in place of Prometheus' own list of service discoveries when it is
// compiled for the test cluster: the full one links the clients of twenty clouds, and doubles the
// time.
package plugins

import _ "github.com/prometheus/prometheus/discovery/kubernetes" // registers itself
