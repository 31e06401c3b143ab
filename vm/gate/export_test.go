package gate

import (
	"testing"

	"github.com/tetratelabs/wazero"
)

// For the tests of package gate_test, which may import packages that import this one.

// RandomModule returns a random program, HandlerConfig what it passes with.
func RandomModule(seed uint64) []byte {
	if seed%4 == 3 {
		return counted(seed).bytes()
	}
	return randomModule(seed).bytes()
}

func HandlerConfig() *Config { return handlerConfig() }

// Outcome is what can be seen of a run.
type Outcome struct {
	Result  uint64
	Out     string
	Fuel    int64
	Memory  []byte
	Globals [2]uint64
}

// RunRandom runs a program on the engine's interpreter.
func RunRandom(t testing.TB, rt wazero.Runtime, m *Module, budget uint64) Outcome {
	o := runProgram(t, rt, m, budget)
	return Outcome{o.result, o.out, o.fuel, o.memory, o.globals}
}

// Interpreter returns the engine's interpreter.
func Interpreter(t testing.TB) wazero.Runtime { return newEngines(t)[0] }
