package repotest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testNamed   = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)`")
	testDefined = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)\(`)
)

// testsOf returns the test functions of the package in a directory of the repository.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), filepath.FromSlash(dir), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testDefined.FindAllStringSubmatch(string(src), -1) {
			found[m[1]] = true
		}
	}
	return found
}

// attacksWithout returns what is wrong with the rows of the page's tables of attacks: those that name no test, and the tests that do not exist.
func attacksWithout(page string, exists func(dir, name string) bool) (rows int, wrong []string) {
	for {
		_, table, found := strings.Cut(page, "\n| attack |")
		if !found {
			return rows, wrong
		}
		n, w := attacksOfTable(table, exists)
		rows, wrong, page = rows+n, append(wrong, w...), table
	}
}

// attacksOfTable is attacksWithout for one table, whose head has begun.
func attacksOfTable(table string, exists func(dir, name string) bool) (rows int, wrong []string) {
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			if rows > 0 {
				break // the table's end
			}
			continue // the rest of its head
		}
		if strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		cells := strings.Split(strings.TrimSpace(line), "|")
		named := testNamed.FindAllStringSubmatch(cells[len(cells)-2], -1)
		if len(cells) != 5 || len(named) == 0 || len(named) != strings.Count(cells[len(cells)-2], "`")/2 {
			wrong = append(wrong, "a row that does not end in tests like `packet.TestName`: "+strings.TrimSpace(line))
		}
		for _, m := range named {
			if !exists(m[1], m[2]) {
				wrong = append(wrong, m[1]+" has no "+m[2])
			}
		}
	}
	return rows, wrong
}

func TestSecurityPageNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root(t), "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := make(map[string]map[string]bool)
	rows, wrong := attacksWithout(string(page), func(dir, name string) bool {
		if tests[dir] == nil {
			tests[dir] = testsOf(t, dir)
		}
		return tests[dir][name]
	})
	for _, w := range wrong {
		t.Errorf("docs/security.md: %s", w)
	}
	if rows < 20 {
		t.Errorf("only %d rows of attacks found in docs/security.md: the table is not what this test reads", rows)
	}
}

func TestSecurityPageCheckFindsErrors(t *testing.T) {
	page := "x\n| attack | defence | tests |\n|---|---|---|\n| a | b | `p.TestA` `q/r.FuzzB` |\n| a | b | `p.TestNone` |\n| a | b | |\n| a | b | `p.TestA` `word` |\n\n| other | `p.TestC` |\n"
	rows, wrong := attacksWithout(page, func(dir, name string) bool { return dir+name == "pTestA" || dir+name == "q/rFuzzB" })
	if rows != 4 || len(wrong) != 3 || wrong[0] != "p has no TestNone" {
		t.Errorf("%d rows, %q", rows, wrong)
	}
}
