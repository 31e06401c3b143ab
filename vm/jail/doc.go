// Package jail runs guests in worker processes that have no rights: a second wall behind the gate and the engine, for code that nobody vouches for.
//
// Who calls it: execution environments and elements that offer to keep a class of code away from the node's own process (ee/ants does, for protocols whose
// node file says so), benchmarks, and programs that embed package vm.
//
// The objects and their lives:
//
//   - A [Jail] is a trust class: guests of one jail may harm each other if the engine has a defect, and nobody else. [New], [Jail.Close]. It is a vm.Outside: a class of
//     guests made with it has its codes and instances there, behind the ordinary vm.Code and vm.Instance.
//   - Behind it is a worker process, this program started once more ([Enter]), sealed before it sees the first byte of a guest. When it dies, its codes and
//     instances are dead, whoever waits for it is told why, and after a time that doubles with each death a new one is started.
//   - A [Queue] is a way into the process for batches: requests and answers in memory that both share. [Jail.Queue].
//
// The way of an evaluation (queue.go): the budget is set aside, block and window are written into the next slot of the ring, the slot is published, the worker
// woken if it sleeps; the worker copies the request, evaluates it by the same engine as the node has, writes the answer and publishes that; the node
// copies the answer out and checks the copy. What a host function needs is asked of the node in the middle of an evaluation.
//
// What the node believes of the worker: nothing. The words by which it publishes are compared with what was asked; answers are
// copied before they are looked at and read once; lengths are bounded by the slot; fuel is bounded by the budget. The ring is a sealed file in memory,
// which the worker cannot make shorter. The node never waits for it without a time limit, and takes no lock that it holds.
//
// What seals the worker (seal_linux.go, policy.go): no files but the ring and what wakes the node, an empty read-only root, user, network, process, mount and IPC
// namespaces of its own, a user without rights, no capabilities, limits, and a list of a dozen system calls, with their arguments, outside which it is killed. Where
// the machine does not permit one of the others, [Jail.Status] says so; without the list there is no jail.
//
// Traps to know. A program that makes a Jail calls [Enter] first in main. A queue belongs to one goroutine; so do the instances that are evaluated by it.
// Jails measure real time and are no part of simulations.
package jail
