//go:build !linux

package bench

func (m *Machine) readHost() {}

type usage struct{}

func readUsage() usage { return usage{} }

func (m *Machine) since(usage) {}
