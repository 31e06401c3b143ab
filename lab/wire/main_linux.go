package wire

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// Main is a wire as a process: args is the path of a file with a Config in JSON. It carries frames between interfaces of
// the network namespace that it was started in, obeys Commands on stdin, answers on stdout, and ends with stdin. It
// returns the exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if err := serve(args, stdin, stdout); err != nil {
		fmt.Fprintln(stderr, "wire:", err)
		return errs.ExitCode(err)
	}
	return 0
}

func serve(args []string, stdin io.Reader, stdout io.Writer) error {
	out := json.NewEncoder(stdout)
	w, err := fromFile(args)
	if err != nil {
		_ = out.Encode(Reply{Error: err.Error()}) // the caller is told by the exit code as well
		return err
	}
	defer w.Close()
	ended := make(chan error, 1)
	go func() { ended <- w.Run() }()
	if err := out.Encode(Reply{}); err != nil {
		w.Stop()
		<-ended
		return err
	}
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		if err = out.Encode(w.obeyLine(lines.Bytes())); err != nil {
			break
		}
	}
	w.Stop()
	if e := <-ended; e != nil {
		return e
	}
	if err == nil {
		err = lines.Err()
	}
	return err
}

func fromFile(args []string) (*Wire, error) {
	if len(args) != 1 {
		return nil, errs.New(errs.Invalid, "need one argument, the configuration's file")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	var cfg Config
	if err := json.Unmarshal(text, &cfg); err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", args[0], err)
	}
	return Open(cfg, clock.NewReal())
}
