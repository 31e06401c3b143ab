// Package opts reads the Opts of a nodeos.LinkSpec for the link drivers. A driver asks for each option that it knows
// and then calls Done, which reports all malformed and unknown ones at once.
package opts
