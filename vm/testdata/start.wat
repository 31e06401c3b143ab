;; start: a process with a start function, which does what the host tells it: 0 sets what run adds 2 to, 1 never ends, 2 traps.
;;
;;     wat2wasm start.wat -o start.wasm
(module
  (import "test" "call" (func $call (param i32 i32) (result i32)))
  (memory (export "memory") 1 1)
  (global $n (mut i32) (i32.const 0))
  (func $start (local $what i32)
    (local.set $what (call $call (i32.const 0) (i32.const 0)))
    (if (i32.eq (local.get $what) (i32.const 1)) (then (loop (br 0))))
    (if (i32.eq (local.get $what) (i32.const 2)) (then unreachable))
    (global.set $n (i32.const 40)))
  (func (export "run") (result i32) (i32.add (global.get $n) (i32.const 2)))
  (start $start))
