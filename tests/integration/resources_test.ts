/** Few file descriptors and slow readers, measured in separate processes. */
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { runProgram } from "@degu/testing/programs.ts";

/** Runs a command with few file descriptors. */
const FEW_DESCRIPTORS = `
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))
os.execv(sys.argv[1], sys.argv[1:])
`;

Deno.test("a server that runs out of file descriptors continues, and accepts again", async (t) => {
  await using pki = await TempPKI.create();
  await using dir = await tempDir();
  const { serverSslconfig, clientSslconfig } = pki;
  const trust = { serverSslconfig, clientSslconfig };
  const tcp = ["127.0.0.1", 0];
  const rows: readonly (readonly [string, unknown])[] = [
    ["a port", { address: tcp }],
    ["a path", { address: join(dir.path, "plain") }],
    ["a port, over TLS", { address: tcp, trust }],
    ["a path, over TLS", { address: join(dir.path, "tls"), trust }],
  ];
  const permissions = ["--allow-net", "--allow-read", `--allow-write=${dir.path}`];
  const through = ["python3", "-c", FEW_DESCRIPTORS];
  for (const [name, task] of rows) {
    await t.step(name, async () => {
      const args = [JSON.stringify(task)];
      const output = await runProgram("few_descriptors.ts", { flags: permissions, args, through });
      const { opened, answered, status, warnings, errors } = JSON.parse(output);
      assert(opened > 5 && opened < 90, `${opened} connections`);
      assertEquals([answered, status, errors], [200, 200, []]);
      // `node:net`, which listens at ports for TLS, tells nobody that it has stopped.
      if (name !== "a port, over TLS") assert(warnings > 0, "nothing was said");
      assert(warnings < 10, `${warnings} warnings`);
    });
  }
});

Deno.test("failed handshakes hold no memory, whatever the timeout", async () => {
  await using pki = await TempPKI.create();
  const { serverSslconfig, clientSslconfig } = pki;
  const flags = ["--v8-flags=--expose-gc", "--allow-net", "--allow-read"];
  const outputs = await Promise.all([30, null].map((timeout) => {
    const args = [JSON.stringify({ serverSslconfig, clientSslconfig, timeout })];
    return runProgram("failing_handshakes.ts", { flags, args, patience: 40 });
  }));
  for (const output of outputs) {
    const { failed, growth } = JSON.parse(output);
    assertEquals(failed, 0, "handshakes that have not failed");
    // Of 360 that have; each that is kept takes 9 KB.
    assert(growth < 1_000_000, `${growth} bytes`);
  }
});

Deno.test("a slow reader occupies the socket, and memory use stays flat", async (t) => {
  const found: Record<string, number> = JSON.parse(
    await runProgram("flat_memory.ts", { flags: ["--allow-net"], patience: 30 }),
  );
  for (const [what, mebibytes] of Object.entries(found)) {
    // Buffers of the kernel are what is ahead of a reader.
    const most = what === "growth of the peak" ? 64 : 24;
    await t.step(`${what}: at most ${most} MiB`, () => {
      assert(mebibytes <= most, `${mebibytes} MiB`);
    });
  }
});

Deno.test("collecting a body in chunks of one byte takes memory for its data, not for its chunks", async (t) => {
  const output = await runProgram("tiny_chunks.ts", { flags: ["--v8-flags=--expose-gc"] });
  const found: Record<string, { data: number; held: number }> = JSON.parse(output);
  for (const [way, { data, held }] of Object.entries(found)) {
    await t.step(way, () => assert(held < 4 * data + 1048576, `${held} bytes for ${data}`));
  }
});
