/** Processes: signals, resources. */
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { RunningProcess, spawnScript } from "@degu/testing/processes.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { readProjectFile } from "@degu/testing/tree.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";

// The program of docs/operations.md, and its reaction to the signals of a service manager.

/** The line of the program that replaces a service manager. */
const OWN_SIGNAL = 'Deno.kill(Deno.pid, "SIGTERM"); // what systemd does; omit this';

/** Returns the code below a heading, with a line that prints when the server listens. */
async function readProgram(heading: string): Promise<string> {
  const page = await readProjectFile("docs/operations.md");
  const [, code = ""] = /```ts\n([^]*?)```/.exec(page.slice(page.indexOf(heading))) ?? [];
  assert(code.includes(OWN_SIGNAL), "the program of the page is another one");
  return code.replace(OWN_SIGNAL, 'console.log("ready");');
}

Deno.test({
  name: "SIGHUP reloads the files or keeps the current context, and SIGTERM shuts down gracefully",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using dir = await createTempDir();
    const flags = [
      "--allow-net=127.0.0.1",
      `--allow-read=${dir.path}`,
      `--allow-write=${dir.path}`,
    ];
    const script = await readProgram("## Signals");
    await using running = new RunningProcess(
      await spawnScript(script, flags, { TMPDIR: dir.path }),
    );
    const { child } = running;
    await running.waitForStdout(/ready/);

    child.kill("SIGHUP");
    await running.waitForStdout(/loaded again/);

    const files = Object.entries(await readTree(dir.path)).filter(([, text]) => text !== null);
    assert(files.length >= 3, "the page makes certificates below TMPDIR");
    await fill(dir.path, Object.fromEntries(files.map(([path]) => [path, "no certificate"])));
    child.kill("SIGHUP");
    await running.waitForStderr(/stay in force/);

    await fill(dir.path, Object.fromEntries(files));
    child.kill("SIGHUP");
    await running.waitForStdout(/loaded again/);

    child.kill("SIGTERM");
    assertEquals((await running.waitForEnd()).success, true);
  },
});

// Few file descriptors, in a separate process.

/** Runs a command with few file descriptors. */
const FEW_DESCRIPTORS = `
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))
os.execv(sys.argv[1], sys.argv[1:])
`;

Deno.test("a server that runs out of file descriptors continues, and accepts again", async (t) => {
  const pki = await openSharedPki();
  await using dir = await createTempDir();
  const { serverSslconfig, clientSslconfig } = pki;
  const trust = { serverSslconfig, clientSslconfig };
  const tcp = ["127.0.0.1", 0];
  const rows = {
    "a port": { address: tcp },
    "a path": { address: join(dir.path, "plain") },
    "a port, over TLS": { address: tcp, trust },
    "a path, over TLS": { address: join(dir.path, "tls"), trust },
  };
  const permissions = ["--allow-net", "--allow-read", `--allow-write=${dir.path}`];
  const output = await runProgram("few_descriptors.ts", {
    flags: permissions,
    args: [JSON.stringify(Object.values(rows))],
    through: ["python3", "-c", FEW_DESCRIPTORS],
  });
  for (const [i, result] of JSON.parse(output).entries()) {
    const name = Object.keys(rows)[i]!;
    await t.step(name, () => {
      const { opened, answered, status, warnings, errors } = result;
      assert(opened > 5 && opened < 90, `${opened} connections`);
      assertEquals([answered, status, errors], [200, 200, []]);
      // `node:net`, which listens at ports for TLS, emits no event when it has stopped.
      if (name !== "a port, over TLS") assert(warnings > 0, "no warning was logged");
      assert(warnings < 10, `${warnings} warnings`);
    });
  }
});
Deno.test("without a free descriptor each request that needs one gets 503, logged in one line without a stack, and the server works again afterward", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/a`, "hello");
  const output = await runProgram("no_descriptors.ts", {
    flags: ["--allow-net=127.0.0.1", `--allow-read=${dir.path}`, `--allow-write=${dir.path}`],
    args: [dir.path],
    through: ["python3", "-c", FEW_DESCRIPTORS],
  });
  const { before, meanwhile, afterward, lines } = JSON.parse(output);
  const otherStatuses = [...Object.values(before), ...Object.values(afterward)];
  assertEquals(otherStatuses.includes(503) || otherStatuses.includes(0), false, output);
  for (const [name, status] of Object.entries(meanwhile)) {
    // A missing file and an existing directory need no descriptor.
    if (!["a new directory", "a removal"].includes(name)) {
      assertEquals(status, 503, `${name}: ${output}`);
    }
  }
  for (const line of lines) assertEquals(/\n/.test(line), false, line);
});

Deno.test("without a free descriptor a device can't serve and invite, and it can afterward", async () => {
  await using dir = await createTempDir();
  const output = await runProgram("device_without_descriptors.ts", {
    flags: [
      ...["--allow-net=127.0.0.1", "--allow-sys=uid"],
      ...[`--allow-read=${dir.path}`, `--allow-write=${dir.path}`],
    ],
    args: [`${dir.path}/camera`],
    through: ["python3", "-c", FEW_DESCRIPTORS],
  });
  const { meanwhile, afterward } = JSON.parse(output);
  for (const message of Object.values<string>(meanwhile)) assertMatch(message, /too many open/i);
  assertEquals(afterward, { serve: "done", invite: "done" });
});
