// Package test has elements with which configurations look at the router itself: signals of notifiers, neighbours, timers, a thread that is
// blocked.
//
// Who uses it: test configurations, Click's own among them; package elements imports it. They live as other elements do. The trap: BlockThread does
// block its thread, and with it everything that runs there.
package test
