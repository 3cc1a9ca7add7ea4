/** The host that a client sends, and the hosts that a server accepts (RFC 9112 §3.2). */
import type { Address } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertRangeError } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assertEquals } from "@std/assert";

/** Starts a server that responds with the host of the request. */
const serveHost = (address?: Address) =>
  serve(({ headers }) => [200, "OK", {}, headers["host"] ?? "none"], {}, address);

Deno.test("a client sends the host and port of its address, and no host over a Unix socket", async (t) => {
  await using dir = await createTempDir();
  const rows: [label: string, Address, expected: (port: unknown) => string][] = [
    ["IPv4", ["127.0.0.1", 0], (port) => `127.0.0.1:${port}`],
    ["IPv6", ["::1", 0], (port) => `[::1]:${port}`],
    ["a path", `${dir.path}/socket`, () => "none"],
    ["an abstract name", encodeLatin1(`\0degu-${crypto.randomUUID()}`), () => "none"],
  ];
  await testEachRow(t, rows, async (_label, address, expected) => {
    await using serving = serveHost(address);
    const requestHost = async (client = serving.makeClient()) =>
      await (await client.get("/")).text();
    assertEquals(await requestHost(), expected(serving.address[1]));
    assertEquals(await requestHost(serving.makeClient({ host: "a.b:1" })), "a.b:1");
    assertEquals(await requestHost(serving.makeClient({ host: null })), "none");
  });
  // An address can't have user information, which must not be part of the host.
  assertRangeError(() => new Client(["user@a", 80]), "user information");
});
