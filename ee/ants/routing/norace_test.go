//go:build !race

package routing

const gridWidth = 20
