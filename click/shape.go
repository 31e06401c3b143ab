package click

// What tools that change graphs ask of a class. They work on classes that are not registered as well, which then have only Name,
// Ports, Processing and Flow.

// Kinds returns how packets move over the ports of an element of the class that has so many of them.
func (c *Class) Kinds(inputs, outputs int) (in, out []Kind) {
	p, err := parseProcessing(c.Processing)
	if err != nil {
		p = processing{[]Kind{AgnosticKind}, []Kind{AgnosticKind}}
	}
	in, out = make([]Kind, inputs), make([]Kind, outputs)
	for i := range in {
		in[i] = kindAt(p.in, i)
	}
	for i := range out {
		out[i] = kindAt(p.out, i)
	}
	return in, out
}

// Least returns how many ports an element of the class has at least.
func (c *Class) Least() (inputs, outputs int) {
	n, err := parsePorts(c.Ports)
	if err != nil {
		return 0, 0
	}
	if n.equal {
		return n.in[0], n.in[0]
	}
	return n.in[0], n.out[0]
}

// Flows returns a function that reports whether packets travel from an input to an output.
func (c *Class) Flows() func(in, out int) bool {
	f, err := parseFlow(c.Flow)
	if err != nil {
		f, _ = parseFlow("")
	}
	return f.linked
}
