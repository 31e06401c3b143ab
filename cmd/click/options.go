package main

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

const usage = `usage: click [OPTION]... [VAR=VALUE]... [FILE]

Runs the Click configuration in FILE, or from standard input if there is none or
it is "-", until something stops the router.

  -e, --expression TEXT   run the configuration TEXT instead of a file
  -f, --file FILE         the same as FILE
  -h, --handler NAME      when the router has stopped, print the read handler NAME, such as
                          c.count; may be given several times
  -x, --exit-handler NAME exit with the value of the handler: 0 for true or 0, 1 for false
  -o, --output FILE       write the flattened configuration to FILE ("-": standard output)
  -q, --quit              do not run; initialize, call handlers, and stop
  -j, --threads N         run with N threads, 1 to 256; StaticThreadSched says which elements run in
                          which of them (default 1)
  -a, --affinity[=N]      pin the threads to processors, the first one to N (default 0)
      --no-affinity       do not; the default
  -R, --allow-reconfigure the handler hotconfig replaces the running configuration
  -p, --port PORT         let programs call handlers on a TCP port of this host (ControlSocket); PORT+
                          takes the first free one from PORT
  -u, --unix-socket FILE  the same on a UNIX socket
  -t, --time              print how long the router ran
  -C, --clickpath PATH    where require(library) looks, instead of CLICKPATH
  -w, --no-warnings       accepted; there are none
      --simtime           run under simulated time, which jumps to the next event
      --driver NAME       driver for the links of devices and channels (default: what works)
  -v, --version           print the version
      --help              print this

A VAR=VALUE sets a variable of the configuration, over its own define().
Exit status: 0 if the router ran, 1 if it could not be made or a handler failed, 2 for a
mistake in the options.
`

// options are what the command line says.
type options struct {
	file, text    string
	hasText       bool
	handlers      []string
	exit          string
	output        string
	hasOutput     bool
	quit, sim     bool
	reconfigure   bool
	time          bool
	sockets       []string // arguments of ControlSockets
	path          string
	hasPath       bool
	driver        string
	threads       int
	pinned        bool
	pin           int // processor of the first thread
	version, help bool
	vars          map[string]string
}

// letters are the short options; a colon follows those with a value, which may be in the same word.
var letters = map[byte]string{'e': "expression:", 'f': "file:", 'h': "handler:", 'x': "exit-handler:", 'o': "output:", 'q': "quit", 'v': "version",
	'R': "allow-reconfigure", 'p': "port:", 'u': "unix-socket:", 't': "time", 'j': "threads:", 'C': "clickpath:", 'w': "no-warnings"}

func parseOptions(args []string) (*options, error) {
	o := &options{vars: map[string]string{}}
	long := map[string]bool{"simtime": false, "help": false, "driver": true}
	for _, n := range letters {
		name, value := strings.CutSuffix(n, ":")
		long[name] = value
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		next := func(name string) (string, error) {
			if i++; i >= len(args) {
				return "", errs.New(errs.Invalid, "option %s needs a value", name)
			}
			return args[i], nil
		}
		switch {
		case a == "-a" || a == "--affinity" || a == "--no-affinity" || strings.HasPrefix(a, "--affinity="):
			o.pin, o.pinned = 0, a != "--no-affinity"
			if _, n, ok := strings.Cut(a, "="); ok {
				var err error
				if o.pin, err = strconv.Atoi(n); err != nil || o.pin < 0 || o.pin >= runtime.NumCPU() {
					return nil, errs.New(errs.Invalid, "%s: want a processor from 0 to %d", a, runtime.NumCPU()-1)
				}
			}
		case strings.HasPrefix(a, "--") && len(a) > 2:
			name, value, given := strings.Cut(a[2:], "=")
			wants, ok := long[name]
			if !ok || given && !wants {
				return nil, errs.New(errs.Invalid, "unknown option %s", a)
			}
			var err error
			if wants && !given {
				value, err = next("--" + name)
			}
			if err == nil {
				err = o.set(name, value)
			}
			if err != nil {
				return nil, err
			}
		case strings.HasPrefix(a, "-") && len(a) > 1:
			for rest := a[1:]; rest != ""; {
				n, ok := letters[rest[0]]
				if !ok {
					return nil, errs.New(errs.Invalid, "unknown option -%c", rest[0])
				}
				name, wants := strings.CutSuffix(n, ":")
				value := ""
				rest = rest[1:]
				if wants {
					if value, rest = rest, ""; value == "" {
						var err error
						if value, err = next("--" + name); err != nil {
							return nil, err
						}
					}
				}
				if err := o.set(name, value); err != nil {
					return nil, err
				}
			}
		default:
			if k, v, ok := strings.Cut(a, "="); ok && k != "" && strings.IndexFunc(k, notVar) < 0 {
				o.vars[k] = v
				continue
			}
			if err := o.set("file", a); err != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

func notVar(c rune) bool {
	return c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
}

func (o *options) set(name, value string) error {
	switch name {
	case "expression", "file":
		if o.hasText || o.file != "" {
			return fmt.Errorf("more than one configuration was given")
		}
		if name == "file" {
			o.file = value
		} else {
			o.text, o.hasText = value, true
		}
	case "handler":
		o.handlers = append(o.handlers, value)
	case "exit-handler":
		o.exit = value
	case "output":
		o.output, o.hasOutput = value, true
	case "quit":
		o.quit = true
	case "allow-reconfigure":
		o.reconfigure = true
	case "port":
		o.sockets = append(o.sockets, "tcp, "+value)
	case "unix-socket":
		o.sockets = append(o.sockets, "unix, "+lang.Quote(value))
	case "time":
		o.time = true
	case "clickpath":
		o.path, o.hasPath = value, true
	case "simtime":
		o.sim = true
	case "threads":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 256 {
			return errs.New(errs.Invalid, "--threads %s, want a number from 1 to 256", value)
		}
		o.threads = n
	case "driver":
		o.driver = value
	case "version":
		o.version = true
	case "help":
		o.help = true
	}
	return nil
}
