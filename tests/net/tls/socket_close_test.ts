/** Using a TLS socket after its end, or twice at the same time. */
import { assertEquals, assertRejects } from "@std/assert";
import { TempPKI } from "@degu/degu/misc";
import { within } from "@degu/testing/raw_peer.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const app = () => [204, "No Content", {}, null] as const;
const request = latin1("GET / HTTP/1.1\r\n\r\n");

Deno.test("a closed TLS socket refuses every operation, and can be closed again", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, app);
  const socket = await endpoint.client.createSocket();
  const reading = assertRejects(
    () => socket.read(new Uint8Array(1)),
    Deno.errors.Interrupted,
    "the socket was closed",
  );
  socket.close();
  await within(reading, "the read that waited");
  socket.close();
  const uses = [
    () => socket.read(new Uint8Array(1)),
    () => socket.read(new Uint8Array(0)),
    () => socket.write(request),
    () => socket.write(new Uint8Array(0)),
    () => socket.closeWrite!(),
  ];
  for (const use of uses) {
    await within(assertRejects(use, Deno.errors.BadResource, "the socket is closed"), "a use");
  }
});

Deno.test("a TLS socket allows one read at a time, and a read of zero bytes never waits", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, app);
  const socket = await endpoint.client.createSocket();
  assertEquals(await within(socket.read(new Uint8Array(0)), "a read of no bytes"), 0);
  const into = new Uint8Array(4);
  const first = socket.read(into);
  await assertRejects(
    () => socket.read(new Uint8Array(1)),
    Deno.errors.Busy,
    "a read is in progress",
  );
  assertEquals(await socket.write(new Uint8Array(0)), 0);
  assertEquals(await socket.write(request), request.length);
  assertEquals(await within(first, "the answer"), 4);
  assertEquals(new TextDecoder().decode(into), "HTTP");
  socket.close();
});

Deno.test("a TLS socket returns what has arrived before the end, and then the end, repeatedly", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, app, { server: { maxRequests: 1 } });
  const socket = await endpoint.client.createSocket();
  await socket.write(request);
  const pieces: number[] = [];
  const into = new Uint8Array(7);
  for (;;) {
    const count = await within(socket.read(into), "the answer and its end");
    if (count === null) break;
    pieces.push(count);
  }
  const length = pieces.reduce((sum, count) => sum + count, 0);
  assertEquals(length, "HTTP/1.1 204 No Content\r\n\r\n".length);
  assertEquals(pieces.every((count) => count > 0 && count <= 7), true);
  for (let i = 0; i < 2; i++) {
    assertEquals(await within(socket.read(into), "the end once more"), null);
  }
  socket.close();
});
