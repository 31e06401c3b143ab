package ants

// Cause says why the EE dropped a capsule, or did not send a copy.
type Cause uint8

// The causes. The order is that of reports.
const (
	DropMalformed  Cause = iota // headers or options do not decode
	DropVersion                 // another version of ANEP or ANTS, another type id, an option that must be known
	DropNoLoad                  // unknown code, and it cannot be loaded now: limits, or no usable previous hop
	DropWaiting                 // unknown code, and the queue of those who wait for it is full
	DropLoadFailed              // waited for code that did not come
	DropRefused                 // its method is refused for a time
	DropEnded                   // waited when its protocol's domain ended
	DropQueueFull               // its protocol's queue is full, or its account could not pay for the frame
	DropShort                   // shorter than its class wants
	DropFault                   // its evaluation ended in a fault
	DropThrottled               // its protocol's account has no fuel or memory left
	DropGuest                   // its code said drop
	DropGuestError              // its code said it is malformed
	DropTTL                     // no hops left
	DropCredit                  // no credit left
	DropNoRoute                 // no route to where it was sent
	DropTooBig                  // larger than the link it was sent to takes
	DropNoMemory                // no frame for a copy
	DropBadEmit                 // a class that its group does not have
	DropPortFull                // the queue of the link it was sent to is full
	DropNoApp                   // delivered to a port that nobody listens on
	DropAppFull                 // the application's queue is full
	DropUnexpected              // a load response that nobody waits for
	DropServe                   // a load request that was not served: rate, not a neighbour
	numCauses
)

var causeNames = [numCauses]string{
	"malformed", "version", "no_load", "waiting_full", "load_failed", "refused", "domain_ended", "queue_full", "short", "fault", "throttled", "guest_drop",
	"guest_error", "ttl", "credit", "no_route", "too_big", "no_memory", "bad_emit", "port_full", "no_app", "app_full", "unexpected", "serve",
}

// String returns the name that reports use.
func (c Cause) String() string { return causeNames[c] }
