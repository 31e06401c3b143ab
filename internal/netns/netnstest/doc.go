// Package netnstest gives tests network namespaces, and interfaces in them, that go with the test. Whatever a killed run has left under
// the same name is removed first. Its functions skip a test that does not run as root, and fail it when the kernel refuses.
package netnstest
