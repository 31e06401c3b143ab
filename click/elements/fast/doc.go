// Package fast has elements that take the place of several others: [FastClassifier], into which click-fastclassifier turns
// classifiers that follow each other. Users do not write them; tools do, and can turn them back.
//
// A FastClassifier lives as every element does. The trap: what it stands for is in its arguments, and a change there has to keep
// names and outputs consistent; Configure checks that.
package fast
