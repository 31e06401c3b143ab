// upper in AssemblyScript: what upper.c does. The committed module was made with AssemblyScript 0.28, in a directory that has sdk/as as kit:
//
//	asc upper.ts -Oz --runtime stub --noAssert --use abort= --maximumMemory 1 -o upper-as.wasm
import { vm_args } from "./kit/janos_vm";
import { no_receive, no_send, NO_FOREVER, NO_PACKET_LENGTH, NO_PACKET_CAPTURED, NO_SIZEOF_PACKET } from "./kit/janos_nodeos";

const args: usize = memory.data(8, 8); // the numbers of the in-channel and of the out-channel
const block: usize = memory.data(64, 8);
const bytes: usize = memory.data(2048, 8);

export function run(): i32 {
  vm_args(args, 8);
  assert(NO_SIZEOF_PACKET <= 64);
  let n: i32;
  do {
    n = no_receive(load<i32>(args), block, 1, bytes, 2048, NO_FOREVER);
    if (n < 0) return n;
    const length = load<u32>(block, NO_PACKET_CAPTURED);
    for (let i: u32 = 4; i < length; i++) {
      const c = load<u8>(bytes + i);
      if (c >= 97 && c <= 122) store<u8>(bytes + i, c - 32);
    }
    store<u32>(block, length, NO_PACKET_LENGTH);
    n = no_send(load<i32>(args, 4), block, 1, bytes, 2048, NO_FOREVER);
  } while (n >= 0);
  return n;
}
