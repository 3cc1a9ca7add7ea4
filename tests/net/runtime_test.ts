/** The private parts of Deno's runtime: whether they exist, and what happens without them. */
import { once } from "node:events";
import * as net from "node:net";
import { canPauseNodeSockets, checkRuntime } from "@degu/internal/net/runtime.ts";
import { runScript } from "@degu/testing/processes.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

Deno.test("this Deno has each private part of the runtime that the package uses", async () => {
  checkRuntime();
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

Deno.test("without the certificates of a peer, TLS refuses to start, and names the version of Deno", async () => {
  const script = `
    import * as net from "node:net";
    import * as tls from "node:tls";
    import { buildClientSslctx } from "./client.ts";
    const socket = new tls.TLSSocket(new net.Socket(), {});
    Object.getPrototypeOf(socket._handle).getPeerCertificateChain = undefined;
    socket.destroy();
    try {
      buildClientSslctx({});
    } catch (error) {
      console.log(error.name, error.message);
    }`;
  assertEquals(
    await runScript(script, ["--allow-read"], {}),
    `DeguError this is Deno "${Deno.version.deno}", whose node:tls doesn't return the certificates ` +
      "of a peer, which TLS needs; use another version of Deno\n",
  );
});
