/** Listening sockets that outlive the server that created them, for another one. */
import { assert, assertEquals } from "@std/assert";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { duplicateDescriptor, HeldSocket } from "@degu/internal/net/held_socket.ts";
import { within } from "@degu/testing/raw_peer.ts";

async function listen(where: { port: number; host: string } | { fd: number }): Promise<Server> {
  const server = createServer();
  server.listen(where);
  await once(server, "listening");
  return server;
}

async function close(server: Server): Promise<void> {
  server.close();
  await once(server, "close");
}

Deno.test("a connection that arrives while nobody accepts waits for the server that takes over the socket", async () => {
  const first = await listen({ port: 0, host: "127.0.0.1" });
  const address = first.address() as AddressInfo;
  const held = HeldSocket.open(duplicateDescriptor(first)!)!;
  await close(first);
  const client = connect(address.port, address.address);
  await within(once(client, "connect"), "the kernel takes the connection");
  const second = await listen({ fd: held.duplicate()! });
  assertEquals(second.address(), address);
  const [accepted] = await within(once(second, "connection"), "the second server accepts it");
  accepted.destroy();
  client.destroy();
  held.close();
  await close(second);
  const [error] = await once(connect(address.port, address.address), "error");
  assertEquals(error.code, "ECONNREFUSED");
});

Deno.test("a held socket accepts nothing, and its duplicates stay open when it closes", async () => {
  const server = await listen({ port: 0, host: "127.0.0.1" });
  const { port, address } = server.address() as AddressInfo;
  const held = HeldSocket.open(duplicateDescriptor(server)!)!;
  for (let i = 0; i < 20; i++) {
    const client = connect(port, address);
    const [accepted] = await within(once(server, "connection"), "the server accepts each");
    accepted.destroy();
    client.destroy();
  }
  const fd = held.duplicate()!;
  held.close();
  const other = await listen({ fd });
  assert(other.listening);
  await close(server);
  await close(other);
});

Deno.test("a descriptor that is not a socket can't be held, and one that doesn't listen can't be duplicated", () => {
  assertEquals(HeldSocket.open(1_000_000), null);
  assertEquals(duplicateDescriptor(createServer()), null);
});
