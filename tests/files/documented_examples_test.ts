/** The examples of docs/files.md, run until they end where nothing goes as planned. */
import { assert, assertEquals } from "@std/assert";
import { tempDir } from "@degu/testing/directories.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { importMapFlags } from "@degu/testing/programs.ts";

const ROOT = new URL("../../", import.meta.url);
const SERVES = "server.serveForever();";
/** Delays between retries are of seconds. */
const IN_HASTE = "const later = globalThis.setTimeout;\n" +
  "globalThis.setTimeout = (work, milliseconds = 0) => later(work, milliseconds / 100);\n";

const page = await Deno.readTextFile(new URL("docs/files.md", ROOT));
const examples = Array.from(page.matchAll(/^```ts\n([^]*?)^```$/gm), ([, code]) => code!);

Deno.test("every documented example ends if the server is gone", async () => {
  await using dir = await tempDir();
  const maps = importMapFlags();
  const flags = maps.length > 0 ? maps : [`--config=${new URL("deno.json", ROOT).pathname}`];
  const serving = examples.filter((code) => code.includes(SERVES));
  assert(serving.some((code) => code.includes("await retry(")), "no example retries");
  await Promise.all(serving.map(async (code, i) => {
    const path = `${dir.path}/${i}.ts`;
    await Deno.writeTextFile(path, IN_HASTE + code.replace(SERVES, `${SERVES}\nserver.close();`));
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--no-prompt", "--no-check", "--no-lock", ...flags],
        ...["--allow-net=127.0.0.1", "--allow-read", "--allow-write=/tmp", path],
      ],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    await using running = new RunningProcess(child);
    const { success, stderr } = await running.ended();
    assertEquals(success, false, code);
    assert(/ConnectionRefused|Connection refused/.test(stderr), stderr);
  }));
});
