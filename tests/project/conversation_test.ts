/** The conversation of docs/cookbook.md: its two programs, as processes that talk over loopback. */
import { reply } from "@degu/degu";
import { createTempDir } from "@degu/testing/directories.ts";
import { makeDenoCommand, startCommand } from "@degu/testing/commands.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { serve } from "@degu/testing/serving.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { fromFileUrl } from "@std/path";
import { assert, assertEquals } from "@std/assert";

const SECTION = "\n## A conversation over one request\n";
/** The packages that the programs import are also there if JSR is unreachable. */
const IMPORT_MAP = fromFileUrl(import.meta.resolve("../support/offline/import_map.json"));

/** Writes the programs of the page to a directory. */
async function writePrograms(dir: string): Promise<void> {
  const page = await readProjectFile("docs/cookbook.md");
  const start = page.indexOf(SECTION) + SECTION.length;
  const section = page.slice(start, page.indexOf("\n## ", start));
  const programs = [...section.matchAll(/(?<=\n\n)`(\w+\.ts)`\s[^]*?^```ts\n([^]*?)^```$/gm)];
  assertEquals(programs.map(([, name]) => name), ["thermostat.ts", "remote.ts"]);
  for (const [, name, text] of programs) await Deno.writeTextFile(`${dir}/${name}`, text!);
}

Deno.test("in the conversation of the cookbook, a server speaks unasked, a line whose connection broke is sent again, and the end of stdin ends the client", async () => {
  await using dir = await createTempDir();
  await writePrograms(dir.path);
  const port = await findUnusedPort();
  const start = (name: string, stdin: "null" | "piped") => {
    const flags = [`--import-map=${IMPORT_MAP}`, `--allow-net=127.0.0.1:${port}`];
    const command = makeDenoCommand(["--no-lock", ...flags], `${dir.path}/${name}`, `${port}`);
    return new RunningProcess(startCommand(command, { stdin, env: { NO_COLOR: "1" } }));
  };
  await using remote = start("remote.ts", "piped");
  const stdin = remote.child.stdin.getWriter();
  const write = (text: string) => stdin.write(new TextEncoder().encode(text));
  await write("21\n"); // there is no server yet
  {
    await using thermostat = start("thermostat.ts", "null");
    await thermostat.waitForStdout(/Serving at port \d+\n/);
    await remote.waitForStdout(/ok 21\n/);
    await remote.waitForStdout(/now 21\n/);
    await remote.waitForStdout(/now 21\n/);
  } // kills the thermostat
  await write("22\n23");
  await using _thermostat = start("thermostat.ts", "null");
  await remote.waitForStdout(/ok 22\n/);
  await stdin.close();
  await remote.waitForStdout(/ok 23\n/);
  const { success, stdout, stderr } = await remote.waitForEnd();
  assert(success, stderr);
  assertEquals(stderr, "");
  assertEquals(stdout.match(/^ok .*$/gm), ["ok 21", "ok 22", "ok 23"]);
});

Deno.test("if the server ends the conversation of the cookbook, the client ends, although stdin is open", async () => {
  await using dir = await createTempDir();
  await writePrograms(dir.path);
  await using serving = serve(() => reply(200, "bye\n"));
  const [, port] = serving.address as readonly [string, number];
  const flags = ["--no-lock", `--import-map=${IMPORT_MAP}`, `--allow-net=127.0.0.1:${port}`];
  const command = makeDenoCommand(flags, `${dir.path}/remote.ts`, `${port}`);
  await using remote = new RunningProcess(startCommand(command, { stdin: "piped" }));
  const { success, stdout, stderr } = await remote.waitForEnd();
  assertEquals([success, stdout, stderr], [true, "bye\n", ""]);
  await remote.child.stdin.close();
});
