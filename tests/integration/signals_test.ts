/** The program of docs/operations.md: how it responds to the signals of a service manager. */
import { assert, assertEquals } from "@std/assert";
import { tempDir } from "@degu/testing/directories.ts";
import { spawnScript } from "@degu/testing/processes.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { read } from "@degu/testing/tree.ts";

/** What the page does in place of a service manager. */
const OWN_SIGNAL = 'Deno.kill(Deno.pid, "SIGTERM"); // what systemd does; omit this';
/** Seconds: the program is compiled first. */
const PATIENCE = 20;

/** The code below a heading, made to say when it listens. */
async function programBelow(heading: string): Promise<string> {
  const page = await read("docs/operations.md");
  const [, code = ""] = /```ts\n([^]*?)```/.exec(page.slice(page.indexOf(heading))) ?? [];
  assert(code.includes(OWN_SIGNAL), "the program of the page is another one");
  return code.replace(OWN_SIGNAL, 'console.log("ready");');
}

/** Waits for lines of a stream, each in its turn. */
function lineReader(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  return {
    async waitFor(what: string): Promise<void> {
      while (!text.includes(what)) {
        const { done, value } = await within(reader.read(), what, PATIENCE);
        if (done) throw new Error(`the program ended: ${text}`);
        text += value;
      }
      text = text.slice(text.indexOf(what) + what.length);
    },
    [Symbol.asyncDispose]: () => reader.cancel(),
  };
}

/** The files below a directory. */
async function filesBelow(dir: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = `${dir}/${name}`;
    if (isDirectory) found.push(...await filesBelow(path));
    else found.push(path);
  }
  return found;
}

Deno.test({
  name: "SIGHUP reloads the files or keeps the current context, and SIGTERM shuts down gracefully",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using dir = await tempDir();
    const flags = [
      "--allow-net=127.0.0.1",
      `--allow-read=${dir.path}`,
      `--allow-write=${dir.path}`,
    ];
    const script = await programBelow("## Signals");
    const child = await spawnScript(script, flags, { TMPDIR: dir.path });
    const ended = child.status;
    try {
      await using stdout = lineReader(child.stdout);
      await using stderr = lineReader(child.stderr);
      await stdout.waitFor("ready");

      child.kill("SIGHUP");
      await stdout.waitFor("loaded again");

      const files = await filesBelow(dir.path);
      const texts = await Promise.all(files.map((path) => Deno.readTextFile(path)));
      for (const path of files) await Deno.writeTextFile(path, "no certificate");
      child.kill("SIGHUP");
      await stderr.waitFor("stay in force");

      for (const [i, path] of files.entries()) await Deno.writeTextFile(path, texts[i]!);
      child.kill("SIGHUP");
      await stdout.waitFor("loaded again");

      child.kill("SIGTERM");
      assertEquals((await within(ended, "the program ends", PATIENCE)).code, 0);
    } finally {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await ended;
    }
  },
});
