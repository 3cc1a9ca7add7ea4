/**
 * Announces the id of another device at a port of this machine, and sends malformed packets, until
 * it is killed.
 */

import { Announcement } from "@degu/internal/device/discovery/mdns.ts";
import { createSocket } from "node:dgram";

const [id = "", address = "", port = "7443", type = "_degu._tcp.local"] = Deno.args;
await using impostor = new Announcement({
  name: "camera",
  id,
  port: Number(port),
  type,
  logger: { ...console, debug() {} },
});
const name = await impostor.announced;
const socket = createSocket({ type: "udp4", reuseAddr: true });
await new Promise<void>((resolve) => socket.bind(5353, resolve));
socket.setMulticastInterface(address);
setInterval(() => {
  const bytes = crypto.getRandomValues(new Uint8Array(60));
  bytes.set([0, 0, 0x84, 0, 0, 0, 0, 9]); // a response with nine answers
  socket.send(bytes, 5353, "224.0.0.251");
}, 20);
console.log(`impostor as ${name}`);
await new Promise(() => {});
