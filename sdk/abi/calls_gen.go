// Code generated from calls.yaml by sdk/abi/internal/gen; DO NOT EDIT.

package abi

// VMModule is the name under which guests import the calls of package vm.
const VMModule = "janos_vm"

// Constants of janos_vm.
const (
	VMNowait   = 1 // flag of send and receive: answer error 8 instead of waiting
	VMMayUse   = 1 // right to send, receive, read, visit, start
	VMMaySee   = 2 // right to ask for status and use
	VMMayEnd   = 4 // right to end, suspend, resume, and set limits
	VMMayGrant = 8 // right to pass it on
)

// Sizes and offsets of the records of janos_vm.
const (
	VMStatusSize     = 16
	VMStatusStateOff = 0
	VMStatusCauseOff = 4
	VMStatusCodeOff  = 8
	VMStatusErrorOff = 12
)

// VMCalls are the calls of janos_vm.
var VMCalls = []Call{
	{Name: "exit", Params: 1, Result: true, Fuel: 50, Process: true},           // code
	{Name: "halt", Params: 1, Result: true, Fuel: 50, Process: true},           // code
	{Name: "yield", Params: 0, Result: true, Fuel: 50, Process: true},          //
	{Name: "args", Params: 2, Result: true, Fuel: 100, Process: true},          // buf, cap
	{Name: "link_new", Params: 3, Result: true, Fuel: 2000},                    // queue, bytes, out
	{Name: "send", Params: 6, Result: true, Fuel: 500},                         // link, data, len, handles, n, flags
	{Name: "receive", Params: 6, Result: true, Fuel: 500},                      // link, buf, cap, handles, n, flags
	{Name: "handle_close", Params: 1, Result: true, Fuel: 200},                 // h
	{Name: "handle_revoke", Params: 1, Result: true, Fuel: 500},                // h
	{Name: "handle_narrow", Params: 2, Result: true, Fuel: 500},                // h, rights
	{Name: "segment_new", Params: 2, Result: true, Fuel: 2000},                 // data, len
	{Name: "segment_size", Params: 1, Result: true, Fuel: 100},                 // h
	{Name: "segment_read", Params: 4, Result: true, Fuel: 200},                 // h, offset, buf, len
	{Name: "visit", Params: 5, Result: true, Fuel: 500},                        // service, buf, len, cap, fuel
	{Name: "child_new", Params: 4, Result: true, Fuel: 20000, Process: true},   // memory, fuel, share, handles
	{Name: "child_load", Params: 3, Result: true, Fuel: 50000, Process: true},  // child, code, len
	{Name: "child_start", Params: 6, Result: true, Fuel: 50000, Process: true}, // child, code, args, len, handles, n
	{Name: "child_suspend", Params: 1, Result: true, Fuel: 500, Process: true}, // child
	{Name: "child_resume", Params: 1, Result: true, Fuel: 500, Process: true},  // child
	{Name: "child_exit", Params: 2, Result: true, Fuel: 500, Process: true},    // child, code
	{Name: "child_halt", Params: 2, Result: true, Fuel: 500, Process: true},    // child, code
	{Name: "child_status", Params: 2, Result: true, Fuel: 200, Process: true},  // child, out
	{Name: "child_wait", Params: 2, Result: true, Fuel: 500, Process: true},    // child, out
}

// Prices that depend on the arguments of calls of janos_vm, in units of fuel.
const (
	VMSendBytes        = 16 // bytes for a unit
	VMReceiveBytes     = 16 // bytes for a unit
	VMSegmentNewBytes  = 16 // bytes for a unit
	VMSegmentReadBytes = 16 // bytes for a unit
	VMVisitBytes       = 16 // bytes for a unit
)

// NOModule is the name under which guests import the calls of package vm/nodeosabi.
const NOModule = "janos_nodeos"

// Constants of janos_nodeos.
const (
	NOReceive   = 1                    // of an event: a packet can be received
	NOSend      = 2                    // of an event: a packet can be sent
	NOFired     = 4                    // of an event: the timer is due
	NOEnded     = 8                    // of an event: the isolate is terminated, the domain dead, or the channel closed
	NOForever   = 4294967295           // a timeout that never comes
	NONothing   = 18446744073709551615 // a limit that refuses everything; 0 is none of its own
	NOProcess   = 0                    // of isolate_load: code of a process
	NOHandler   = 1                    // of isolate_load: code that is evaluated once for each packet, as capsules are (abi.md)
	NOBatchMax  = 256                  // most packets of a call
	NOEventsMax = 64                   // most events of a call
	NOQuotaMax  = 4096                 // most packets that a channel of a guest holds
	NOSnapMax   = 16384                // most bytes of a packet that a channel of a guest keeps
	NOTuplesMax = 8                    // most tuples of a key
	NOLogMax    = 256                  // bytes of a log line that are kept
)

// Sizes and offsets of the records of janos_nodeos.
const (
	NOAddressSize        = 32
	NOAddressAddrOff     = 0
	NOAddressPortOff     = 16
	NOAddressFamilyOff   = 18
	NOAddressHasHwOff    = 19
	NOAddressHwOff       = 20
	NOAddressReservedOff = 26

	NOPacketSize        = 56
	NOPacketOffsetOff   = 0
	NOPacketLengthOff   = 4
	NOPacketCapturedOff = 8
	NOPacketLinkOff     = 12
	NOPacketTimeNSOff   = 16
	NOPacketRemoteOff   = 24

	NOTupleSize      = 36
	NOTupleOffsetOff = 0
	NOTupleLengthOff = 2
	NOTupleValueOff  = 4
	NOTupleMaskOff   = 20

	NOInSize      = 312
	NOInSizeOff   = 0
	NOInQuotaOff  = 4
	NOInSnapOff   = 8
	NOInRateOff   = 12
	NOInBurstOff  = 16
	NOInPortOff   = 20
	NOInTuplesOff = 22
	NOInTupleOff  = 24

	NOOutSize        = 56
	NOOutSizeOff     = 0
	NOOutQuotaOff    = 4
	NOOutSnapOff     = 8
	NOOutPortOff     = 12
	NOOutReservedOff = 14
	NOOutBitRateOff  = 16
	NOOutRemoteOff   = 24

	NODomainSize      = 80
	NODomainSizeOff   = 0
	NODomainShareOff  = 4
	NODomainCpuNSOff  = 8
	NODomainFuelOff   = 16
	NODomainMemoryOff = 24
	NODomainFramesOff = 32
	NODomainLoadsOff  = 40
	NODomainNameOff   = 48

	NOUsageSize     = 32
	NOUsageUseOff   = 0
	NOUsagePeakOff  = 8
	NOUsageLimitOff = 16
	NOUsageDropsOff = 24

	NODomainStatusSize        = 176
	NODomainStatusStateOff    = 0
	NODomainStatusReasonOff   = 4
	NODomainStatusShareOff    = 8
	NODomainStatusReservedOff = 12
	NODomainStatusCpuOff      = 16
	NODomainStatusFuelOff     = 48
	NODomainStatusMemoryOff   = 80
	NODomainStatusFramesOff   = 112
	NODomainStatusLoadsOff    = 144

	NOChannelStatusSize       = 64
	NOChannelStatusPacketsOff = 0
	NOChannelStatusBytesOff   = 8
	NOChannelStatusFullOff    = 16
	NOChannelStatusLimitedOff = 24
	NOChannelStatusPoorOff    = 32
	NOChannelStatusInvalidOff = 40
	NOChannelStatusHandedOff  = 48
	NOChannelStatusHeldOff    = 56
	NOChannelStatusClosedOff  = 60

	NOEventSize     = 8
	NOEventHOff     = 0
	NOEventReadyOff = 4

	NOTimerSize       = 16
	NOTimerAtNSOff    = 0
	NOTimerEveryNSOff = 8
)

// NOCalls are the calls of janos_nodeos.
var NOCalls = []Call{
	{Name: "time", Params: 1, Result: true, Fuel: 300},                           // out
	{Name: "random", Params: 2, Result: true, Fuel: 300},                         // out, len
	{Name: "log", Params: 2, Result: true, Fuel: 1000},                           // text, len
	{Name: "domain_new", Params: 2, Result: true, Fuel: 20000, Process: true},    // domain, spec
	{Name: "domain_set", Params: 2, Result: true, Fuel: 2000, Process: true},     // domain, spec
	{Name: "domain_status", Params: 2, Result: true, Fuel: 2000},                 // domain, out
	{Name: "domain_end", Params: 1, Result: true, Fuel: 5000, Process: true},     // domain
	{Name: "in_new", Params: 3, Result: true, Fuel: 20000, Process: true},        // domain, port, spec
	{Name: "out_new", Params: 3, Result: true, Fuel: 20000, Process: true},       // domain, port, spec
	{Name: "channel_close", Params: 1, Result: true, Fuel: 5000, Process: true},  // channel
	{Name: "channel_status", Params: 2, Result: true, Fuel: 1000},                // channel, out
	{Name: "receive", Params: 6, Result: true, Fuel: 500},                        // channel, packets, n, window, len, timeout_us
	{Name: "send", Params: 6, Result: true, Fuel: 500},                           // channel, packets, n, window, len, timeout_us
	{Name: "hand_off", Params: 5, Result: true, Fuel: 500},                       // channel, packets, n, window, len
	{Name: "timer_new", Params: 0, Result: true, Fuel: 1000},                     //
	{Name: "timer_set", Params: 2, Result: true, Fuel: 500},                      // timer, when
	{Name: "timer_take", Params: 1, Result: true, Fuel: 500},                     // timer
	{Name: "wait", Params: 3, Result: true, Fuel: 500},                           // events, n, timeout_us
	{Name: "isolate_new", Params: 3, Result: true, Fuel: 20000, Process: true},   // domain, memory, handles
	{Name: "isolate_load", Params: 4, Result: true, Fuel: 50000, Process: true},  // isolate, code, len, kind
	{Name: "isolate_give", Params: 2, Result: true, Fuel: 1000, Process: true},   // isolate, h
	{Name: "isolate_serve", Params: 5, Result: true, Fuel: 50000, Process: true}, // isolate, code, in, out, fuel
}

// Prices that depend on the arguments of calls of janos_nodeos, in units of fuel.
const (
	NORandomByte   = 1  // for each byte
	NOReceiveEach  = 50 // for each packet or event
	NOReceiveBytes = 16 // bytes for a unit
	NOSendEach     = 50 // for each packet or event
	NOSendBytes    = 16 // bytes for a unit
	NOHandOffEach  = 50 // for each packet or event
	NOHandOffBytes = 16 // bytes for a unit
	NOWaitEach     = 20 // for each packet or event
)
