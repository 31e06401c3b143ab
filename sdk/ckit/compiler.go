package ckit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/sdk/abi/elem"
	"github.com/janos-os/janos/sdk/c"
)

// EnvCompiler names the environment variable that chooses a clang.
const EnvCompiler = "JANOS_CLANG"

// Compiler is a clang that can make WebAssembly.
type Compiler struct {
	Path    string
	Version string // first line of --version
}

// candidates are tried in this order: the default, then known versions, newest first.
func candidates() []string {
	list := []string{"clang"}
	for v := 22; v >= 13; v-- {
		list = append(list, fmt.Sprintf("clang-%d", v))
	}
	return append(list, "/opt/homebrew/opt/llvm/bin/clang", "/usr/local/opt/llvm/bin/clang")
}

// FindCompiler looks for a compiler in $JANOS_CLANG or, if that is not set, under the usual names. The error
// is of kind errs.NotSupported and says how to get one.
func FindCompiler(ctx context.Context) (*Compiler, error) {
	names := candidates()
	if env := os.Getenv(EnvCompiler); env != "" {
		names = []string{env}
	}
	var why []string
	for _, n := range names {
		path, err := exec.LookPath(n)
		if err != nil {
			continue
		}
		comp, err := check(ctx, path)
		if err == nil {
			return comp, nil
		}
		why = append(why, fmt.Sprintf("%s: %v", path, err))
	}
	found := "none of " + strings.Join(names, ", ") + " is installed"
	if len(why) > 0 {
		found = strings.Join(why, "; ")
	}
	return nil, errs.New(errs.NotSupported, "no C compiler for WebAssembly (%s): install clang and lld, for example apt-get install clang lld, or set %s", found, EnvCompiler)
}

func check(ctx context.Context, path string) (*Compiler, error) {
	version, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("--version: %w", err)
	}
	targets, err := exec.CommandContext(ctx, path, "--print-targets").Output()
	if err != nil || !bytes.Contains(targets, []byte("wasm32")) {
		return nil, fmt.Errorf("has no WebAssembly target")
	}
	ld, err := exec.CommandContext(ctx, path, "--target=wasm32", "--print-prog-name=wasm-ld").Output()
	if err != nil {
		return nil, fmt.Errorf("--print-prog-name: %w", err)
	}
	if _, err := exec.LookPath(strings.TrimSpace(string(ld))); err != nil {
		return nil, fmt.Errorf("its linker wasm-ld is missing, install lld of the same version")
	}
	line, _, _ := strings.Cut(string(version), "\n")
	return &Compiler{Path: path, Version: strings.TrimSpace(line)}, nil
}

// Options say how a capsule is built. The zero value is good.
type Options struct {
	Pages   int      // maximum of the memory in pages of 64 KiB; 0: 1
	Stack   int      // bytes of C stack; 0: 4096
	Debug   bool     // keep the names of functions, and DWARF with lines of the source; the module is some times as large
	Include []string // further directories for headers
	Flags   []string // further flags for clang, last
	Element bool     // it is a graph element, not a capsule
	Process bool     // it is a process, which exports run and needs no records
}

// Args returns the arguments with which clang turns src into out; header is the directory of the kit's headers.
func (o *Options) Args(header, src, out string) []string {
	pages, stack := max(1, o.Pages), o.Stack
	if stack <= 0 {
		stack = 4096
	}
	args := []string{"--target=wasm32", "-std=c11", "-Os", "-Wall", "-Wextra", "-ffreestanding", "-nostdlib", "-fvisibility=hidden",
		// Exactly the extensions that the gate accepts and that C makes use of.
		"-mcpu=mvp", "-msign-ext", "-mmutable-globals", "-mbulk-memory", "-mnontrapping-fptoint",
		"-I", header}
	for _, d := range o.Include {
		args = append(args, "-I", d)
	}
	if o.Debug {
		// Where it was built is nobody's business who gets the module.
		args = append(args, "-g", "-fdebug-compilation-dir=.", "-ffile-prefix-map="+header+"=kit")
	} else {
		args = append(args, "-Wl,--strip-all")
	}
	args = append(args, "-Wl,--no-entry", "-Wl,--stack-first",
		fmt.Sprintf("-Wl,-z,stack-size=%d", stack), fmt.Sprintf("-Wl,--max-memory=%d", pages<<16))
	exports := []string{abi.ExportManifest, abi.ExportBlock, abi.ExportWindow}
	if o.Element {
		exports = []string{elem.ExportElement, elem.ExportPacket, elem.ExportWindow}
		args = append(args, "-Wl,--export-if-defined="+elem.ExportConfig, "-Wl,--export-if-defined="+elem.ExportCounter)
	}
	if o.Process {
		exports = nil
		args = append(args, "-Wl,--export-if-defined="+abi.ExportManifest)
	}
	for _, e := range exports {
		args = append(args, "-Wl,--export="+e)
	}
	args = append(args, o.Flags...)
	return append(args, "-o", out, src)
}

// Build compiles and links one C file and returns the module. warnings is what the compiler said on
// success. An error of kind errs.Invalid holds the compiler's messages, which begin with file:line:column.
func (comp *Compiler) Build(ctx context.Context, src string, opt Options) (module []byte, warnings string, err error) {
	dir, err := os.MkdirTemp("", "janos-build-")
	if err != nil {
		return nil, "", errs.New(errs.Internal, "build %s: %w", src, err)
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string][]byte{"janos.h": c.Header, "janos_element.h": c.ElementHeader, "janos_vm.h": c.VMHeader, "janos_nodeos.h": c.NodeOSHeader} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return nil, "", errs.New(errs.Internal, "build %s: %w", src, err)
		}
	}
	if _, err := os.Stat(src); err != nil {
		return nil, "", errs.New(errs.NotFound, "build: %w", err)
	}
	if strings.HasPrefix(src, "-") {
		src = "./" + src
	}
	out := filepath.Join(dir, "out.wasm")
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, comp.Path, opt.Args(dir, src, out)...)
	cmd.Stderr, cmd.Stdout = &said, &said
	if err := cmd.Run(); err != nil {
		return nil, "", errs.New(errs.Invalid, "%s: %v\n%s", filepath.Base(comp.Path), err, strings.TrimSpace(said.String()))
	}
	if module, err = os.ReadFile(out); err != nil {
		return nil, "", errs.New(errs.Internal, "build %s: %w", src, err)
	}
	return module, said.String(), nil
}
