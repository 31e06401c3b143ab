// Package gen turns the description of the guest ABI (abi.yaml) into its three forms: Go
// constants for the host, the C header for guests, and the manual page. The command in
// gen/cmd writes them; a test of package abi compares them with what is committed.
package gen
