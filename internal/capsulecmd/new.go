package capsulecmd

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
)

//go:embed template
var templates embed.FS

// goodName is what a class may be called so that its name is also that of files, and fits in a C string.
var goodName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,30}$`)

func newCommand() *cobra.Command {
	return &cobra.Command{
		Use: "new NAME", Short: "Make a directory with a capsule that works, to be changed", Args: cobra.ExactArgs(1),
		Long: `Makes the directory NAME with a C source, a protocol description and a README. NAME may have directories in front; its
last part names the capsule class. An existing directory is not touched.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := create(args[0])
			if err != nil {
				return err
			}
			for _, f := range files {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "next: janos capsule build %s\n", args[0])
			return nil
		},
	}
}

// create writes the files of a new capsule and returns their names.
func create(dir string) ([]string, error) {
	name := filepath.Base(dir)
	if !goodName.MatchString(name) {
		return nil, errs.New(errs.Invalid, "capsule name %q: want a small letter and up to 30 small letters, digits, dashes or underscores", name)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return nil, errs.New(errs.Permission, "%w", err)
	}
	if err := os.Mkdir(dir, 0o777); errors.Is(err, fs.ErrExist) {
		return nil, errs.New(errs.Exists, "%s is there already: choose another name, or remove it", dir)
	} else if err != nil {
		return nil, errs.New(errs.Permission, "%w", err)
	}
	t, err := template.ParseFS(templates, "template/*.tmpl")
	if err != nil {
		return nil, err
	}
	var files []string
	for _, f := range []struct{ tmpl, file string }{
		{"capsule.c.tmpl", name + ".c"}, {"protocol.yaml.tmpl", "protocol.yaml"}, {"README.md.tmpl", "README.md"},
	} {
		path := filepath.Join(dir, f.file)
		w, err := os.Create(path)
		if err != nil {
			return nil, errs.New(errs.Permission, "%w", err)
		}
		if err = errors.Join(t.ExecuteTemplate(w, f.tmpl, name), w.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files = append(files, path)
	}
	return files, nil
}
