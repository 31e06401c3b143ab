// Package yamlfile reads our YAML configuration files strictly, and knows the place of everything in them.
//
// The readers of node files and topology files use it. [Parse] gives a [File]; its [File.Root] is a [Node], and the typed getters of
// Node and [Map] take it apart. A getter that does not find what was asked for adds an error with file:line:column and a remedy to the
// file and returns a zero value, so that the caller goes on and the user sees all errors of a file at once, from [File.Err].
//
// The subset is plain YAML 1.2 data: mappings with scalar keys, sequences, scalars, one document. Anchors, aliases, tags and
// merge keys are refused: they make a place ambiguous and let a small file stand for a huge one. Sizes and nesting are bounded before
// the parser sees the text. A key that nobody asked for is an error when [Map.Close] is called, and so is one that appears twice.
//
// A File is not safe for concurrent use. Trap: a Node that is absent is a usable zero value whose getters return zero without
// an error; ask [Map.Need] for keys that must be there.
package yamlfile
