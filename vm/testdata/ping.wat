;; ping in the text format: counts hops in the second word of its payload and is delivered at its destination.
;;
;;     wat2wasm ping.wat -o ping-wat.wasm
;;
;; The numbers are those of docs/abi.md.
(module
  (memory (export "memory") 1 1)
  (global (export "janos_manifest") i32 (i32.const 0))
  (global (export "janos_block") i32 (i32.const 128))
  (global (export "janos_window") i32 (i32.const 512))
  ;; size 80, ABI 1, window_size 64, window_min 8, and no state
  (data (i32.const 0) "\50\00\00\00\01\00\00\00\40\00\00\00\08\00\00\00")
  (data (i32.const 40) "ping")
  (func (export "evaluate") (result i32)
    ;; block.dst == block.node?
    (if (i32.eq (i32.load offset=44 (i32.const 128)) (i32.load offset=32 (i32.const 128)))
      (then (return (i32.const 2)))) ;; deliver
    (i32.store offset=4 (i32.const 512)
      (i32.add (i32.load offset=4 (i32.const 512)) (i32.const 1)))
    (i32.const 1))) ;; forward
