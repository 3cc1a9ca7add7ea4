/** Memory and garbage of connections, measured in processes of their own. */
import { runProgram } from "@degu/testing/programs.ts";
import { sharedPki } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals } from "@std/assert";

Deno.test("failed handshakes hold no memory, whatever the timeout", async () => {
  const pki = await sharedPki();
  const { serverSslconfig, clientSslconfig } = pki;
  const flags = ["--v8-flags=--expose-gc", "--allow-net", "--allow-read"];
  const args = [JSON.stringify({ serverSslconfig, clientSslconfig, timeouts: [30, null] })];
  const output = await runProgram("failing_handshakes.ts", { flags, args });
  const { failed, growth } = JSON.parse(output);
  assertEquals(failed, 0, "handshakes that have not failed");
  // Of 180 that have, at each of two servers; each that is kept takes 9 KB.
  assert(growth < 1_000_000, `${growth} bytes`);
});

Deno.test("a slow reader occupies the socket, and memory use stays flat", async (t) => {
  const found: Record<string, number> = JSON.parse(
    await runProgram("flat_memory.ts", { flags: ["--v8-flags=--expose-gc", "--allow-net"] }),
  );
  for (const [what, mebibytes] of Object.entries(found)) {
    // Buffers of the kernel are what is ahead of a reader.
    const most = what === "growth of the peak" ? 40 : 24;
    await t.step(`${what}: at most ${most} MiB`, () => {
      assert(mebibytes <= most, `${mebibytes} MiB`);
    });
  }
});

Deno.test("unreferenced objects close themselves, and objects in use keep what they need", async (t) => {
  const flags = ["--v8-flags=--expose-gc", "--allow-net", "--allow-read"];
  const output = await runProgram("garbage_collection.ts", { patience: 180, flags });
  const findings: [string, unknown][] = JSON.parse(output);
  assert(findings.length > 10);
  for (const [what, found] of findings) await t.step(what, () => assertEquals(found, true));
});
