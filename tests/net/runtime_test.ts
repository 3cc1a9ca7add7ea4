/** The private parts of Deno's runtime: whether they exist, and what happens without them. */
import { once } from "node:events";
import * as net from "node:net";
import { canPauseNodeSockets } from "@degu/internal/net/transport/runtime.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

Deno.test("this Deno has each private part of the runtime that the package uses", async () => {
  assert(canPauseNodeSockets());
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const socket = net.connect(listener.addr);
  const connected = once(socket, "connect");
  using _peer = await listener.accept();
  await connected;
  // Calls `onread` with the bytes of each read.
  assertEquals(typeof Reflect.get(Reflect.get(socket, "_handle"), "onread"), "function");
  const closed = once(socket, "close");
  socket.destroy();
  await closed;
});

Deno.test("a pause without effect ends the connection with this reason, and later connections are those of Deno", async () => {
  const flags = ["--allow-net=127.0.0.1", "--allow-read", "--allow-write=/tmp"];
  const [canPause, message, ...later] = JSON.parse(
    await runProgram("ignored_pauses.ts", { flags }),
  );
  assertEquals(canPause, true);
  assertMatch(message, /can't be paused in Deno \S+: more than 16 MiB of the peer are unread/);
  assertEquals(later, [33_554_432, "/small"]);
});

Deno.test("by public calls alone, both ends find the authority that has issued a leaf, and refuse a leaf of an intermediate with the reason", async () => {
  const permissions = ["--allow-net=127.0.0.1", "--allow-read"];
  const preload = `--preload=${import.meta.resolve("@degu/testing/public_calls.ts")}`;
  const run = async (...flags: readonly string[]) =>
    JSON.parse(await runProgram("private_chain.ts", { flags: [...permissions, ...flags] }));
  const subjects = ["CN=root", "CN=root"];
  assertEquals(await run(), [subjects, subjects, subjects]);
  const [direct, server, client] = await run(preload);
  assertEquals(direct, subjects);
  const reason =
    `no trusted authority has issued it directly, and node:tls of Deno ${Deno.version.deno} ` +
    "doesn't return intermediates";
  assertStringIncludes(
    server,
    `the authority of the server's certificate can't be determined: ${reason}`,
  );
  assertStringIncludes(
    client,
    `the authority of the client's certificate can't be determined: ${reason}`,
  );
});
