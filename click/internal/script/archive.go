package script

import (
	"bytes"
	"os"
	"strings"
)

// Archive is a parsed script.
type Archive struct {
	Comment string
	Files   []File
}

// File is one part of a script.
type File struct {
	Name string
	Data string
}

// Parse reads an archive; anything is one.
func Parse(data string) *Archive {
	a := &Archive{}
	cur := &a.Comment
	for data != "" {
		line := data
		if i := strings.IndexByte(data, '\n'); i >= 0 {
			line = data[:i+1]
		}
		data = data[len(line):]
		trimmed := strings.TrimSpace(line)
		if len(trimmed) > 6 && strings.HasPrefix(trimmed, "-- ") && strings.HasSuffix(trimmed, " --") {
			a.Files = append(a.Files, File{Name: strings.TrimSpace(trimmed[3 : len(trimmed)-3])})
			cur = &a.Files[len(a.Files)-1].Data
			continue
		}
		*cur += line
	}
	return a
}

// Load reads the archive in a file.
func Load(name string) (*Archive, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Parse(string(b)), nil
}

// Get returns the part of that name, or nil.
func (a *Archive) Get(name string) *File {
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	return nil
}

// Text returns the text of a part, empty if there is none.
func (a *Archive) Text(name string) string {
	if f := a.Get(name); f != nil {
		return f.Data
	}
	return ""
}

// Format returns the archive as text.
func (a *Archive) Format() string {
	var b bytes.Buffer
	b.WriteString(a.Comment)
	for _, f := range a.Files {
		b.WriteString("-- " + f.Name + " --\n" + f.Data)
		if f.Data != "" && !strings.HasSuffix(f.Data, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Write puts the archive into a file.
func (a *Archive) Write(name string) error { return os.WriteFile(name, []byte(a.Format()), 0o644) }
