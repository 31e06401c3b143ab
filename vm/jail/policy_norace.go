//go:build !race

package jail

// forTests are calls that only programs under the race detector make.
var forTests []Call
