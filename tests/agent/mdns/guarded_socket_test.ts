import { assert, assertEquals } from "@std/assert";
import type { RemoteInfo } from "node:dgram";
import { Buffer } from "node:buffer";
import { guardedSocket } from "@degu/internal/agent/mdns/guarded_socket.ts";

/** How many of these messages are handed on. */
async function handedOn(
  messages: Iterable<{ size?: number; port?: number; address?: string }>,
): Promise<number> {
  const socket = guardedSocket("udp4", 5353, (host) => host !== "192.0.2.66");
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  let heard = 0;
  socket.on("message", () => heard++);
  for (const { size = 100, port = 5353, address = "192.0.2.1" } of messages) {
    const from: RemoteInfo = { address, port, family: "IPv4", size };
    socket.emit("message", Buffer.alloc(size), from);
  }
  await new Promise<void>((resolve) => {
    socket.close(() => resolve());
  });
  return heard;
}

Deno.test("packets of up to 9000 bytes are passed on, and larger ones are not", async () => {
  assertEquals(await handedOn([{ size: 9000 }, { size: 9001 }, { size: 65507 }, { size: 0 }]), 2);
});

Deno.test("packets from other ports and from other networks are dropped", async () => {
  assertEquals(await handedOn([{ port: 5354 }, { port: 0 }, { address: "192.0.2.66" }, {}]), 1);
});

Deno.test("a flood is limited, by bytes and by the number of small packets", async () => {
  const large = await handedOn(Array.from({ length: 1000 }, () => ({ size: 9000 })));
  const small = await handedOn(Array.from({ length: 10_000 }, () => ({ size: 1 })));
  // 100,000 bytes at once, and what a slow machine adds at 50,000 a second.
  assert(large >= 11 && large < 40, `${large}`);
  assert(small >= 500 && small < 1400, `${small}`);
  // Those that are dropped for another reason cost nothing.
  const foreign = Array.from({ length: 10_000 }, () => ({ port: 1 }));
  assertEquals(await handedOn([...foreign, {}]), 1);
});
