/** The private parts of Deno's runtime, and the versions of Deno that are supported. */
import { once } from "node:events";
import * as net from "node:net";
import { canPauseNodeSockets } from "@degu/internal/net/transport/runtime.ts";
import { runProgram } from "@degu/testing/programs.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { DeguError } from "@degu/degu/base";
import { buildClientSslctx, SSLClient } from "@degu/degu/client";
import { buildServerSslctx, SSLServer } from "@degu/degu/server";
import { isSupportedDeno, MIN_DENO_VERSION } from "@degu/internal/net/tls/deno_version.ts";

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

// ───────────────────────── versions of Deno

Deno.test("versions are compared numerically, with pre-releases before releases", () => {
  const supported =
    "2.9.6 2.9.7 2.9.10 2.10.0 2.10.0-rc.1 2.100.0 3.0.0 3.0.0-rc.0+1a2b3c4 10.0.0 " +
    "2.9.6+1a2b3c4 2.9.16-alpha";
  const refused = "2.9.5 2.9.0 2.8.99 1.46.3 0.99.99 2.9.5+1a2b3c4 2.9.6-rc.1 2.9.6-rc.1+1a2b3c4 " +
    "2.9.6-2.9.7 2.9 2.9.6.1 v2.9.6 2.9.x -3.0.0 3e0.0.0 unknown";
  for (const version of supported.split(" ")) assertEquals(isSupportedDeno(version), true, version);
  for (const version of [...refused.split(" "), " 2.9.6", "2.9.6 ", ""]) {
    assertEquals(isSupportedDeno(version), false, version);
  }
  assertEquals(isSupportedDeno(Deno.version.deno), true);
});

Deno.test("on an older Deno TLS clients and servers fail with an error that names the required version", async () => {
  const app = () => [200, "OK", {}, null] as const;
  const serverSslconfig = {
    certFile: "/nowhere/cert.pem",
    keyFile: "/nowhere/key.pem",
    allowUnauthenticatedClients: true,
  } as const;
  const { version } = Deno;
  // The suite doesn't run on an older Deno: this simulates its version.
  Object.defineProperty(Deno, "version", { value: { ...version, deno: "2.9.5" } });
  try {
    const makers = [
      () => new SSLClient({}, ["127.0.0.1", 443]),
      () => new SSLServer(serverSslconfig, ["127.0.0.1", 0], app),
      () => buildClientSslctx({}),
      () => buildServerSslctx(serverSslconfig),
    ];
    for (const make of makers) {
      const { message } = await assertRejects(async () => await make(), DeguError);
      assertStringIncludes(message, 'this is Deno "2.9.5"');
      assertStringIncludes(message, `needs ${MIN_DENO_VERSION} or later`);
      assertStringIncludes(message, "don't verify client certificates reliably");
    }
  } finally {
    Object.defineProperty(Deno, "version", { value: version });
  }
  assertEquals(buildClientSslctx({}).verify, true);
});
