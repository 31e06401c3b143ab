//go:build race

package routing

// gridWidth makes the large network smaller under the race detector, which is twenty times slower.
const gridWidth = 5
