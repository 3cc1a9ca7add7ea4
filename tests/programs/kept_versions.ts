/**
 * Changes the files of a directory by several processes at once, each with an app that keeps
 * versions, and prints the numbers of stored contents, and of contents that are lost: neither in
 * the directory nor among its versions.
 *
 * Arguments: the directory, the number of processes, the number of changes of each process, and the
 * number of kills of each process, after which the process is started again.
 */
import { Body } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/internal/misc/mkreq.ts";
import { importMapFlags, makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";

const PATHS = 4;
/** Each process stores files at its own paths, and deletes all. */
const pathOf = (writer: number, index: number) => `d/${writer}-${index}`;
const random = (count: number) => Math.floor(Math.random() * count);

/** Prints each stored content after its response. */
async function write(dir: string, writer: number, writers: number, first: number, end: number) {
  const app = new FilesApp(dir, { write: true, keep: 9 });
  let user = "";
  const respond = async (method: "PUT" | "DELETE", uri: string, bytes?: Uint8Array) => {
    const body = bytes && new Body(new Blob([new Uint8Array(bytes)]).stream(), bytes.length);
    const session = {
      user,
      ifTrusted: (step: () => void) => step(),
      signal: new AbortController().signal,
    };
    const [status] = await app.handle(mkreq(method, uri, {}, body ?? null), session as never);
    return status;
  };
  for (let change = first; change < end; change++) {
    // So each replaced file is of another peer, and is kept.
    user = `${writer}-${change}`;
    const path = pathOf(random(writers), random(PATHS));
    if (random(4) === 0) await respond("DELETE", `/${path}`).catch(() => {});
    else {
      const content = `${writer}-${change}`;
      const ownPath = pathOf(writer, random(PATHS));
      const status = await respond("PUT", `/${ownPath}`, new TextEncoder().encode(content))
        .catch(() => 500);
      if (status < 300) console.log(content);
    }
  }
}

/** Resolves to the stored contents. */
async function runWriter(
  dir: string,
  writer: number,
  writers: number,
  count: number,
  kills: number,
) {
  const stored: string[] = [];
  for (let run = 0; run <= kills; run++) {
    const first = run * count;
    const args = ["write", dir, ...[writer, writers, first, first + count].map(String)];
    const flags = ["--allow-all", ...importMapFlags()];
    const command = makeProgramCommand("kept_versions.ts", { flags, args });
    await using process = new RunningProcess(command.spawn());
    if (run < kills) {
      await process.waitForStdout(/\n/);
      await new Promise((resolve) => setTimeout(resolve, random(200)));
      process.kill();
    }
    const { stdout, stderr } = await process.waitForEnd();
    if (stderr !== "") throw new Error(stderr);
    // A killed process may have printed a part of a line.
    stored.push(...stdout.split("\n").slice(0, -1));
  }
  return stored;
}

function readContents(dir: string, contents = new Set<string>()): Set<string> {
  for (const { name, isDirectory } of Deno.readDirSync(dir)) {
    if (name === ".degu-files") continue;
    if (isDirectory) readContents(`${dir}/${name}`, contents);
    else contents.add(Deno.readTextFileSync(`${dir}/${name}`));
  }
  return contents;
}

const [first = "", ...rest] = Deno.args;
if (first === "write") {
  const [dir = "", ...numbers] = rest;
  const [writer = 0, writers = 0, start = 0, end = 0] = numbers.map(Number);
  await write(dir, writer, writers, start, end);
} else {
  const [writers = 0, count = 0, kills = 0] = rest.map(Number);
  await Deno.mkdir(`${first}/d`);
  const stored = (await Promise.all(
    Array.from({ length: writers }, (_, writer) => runWriter(first, writer, writers, count, kills)),
  )).flat();
  const contents = readContents(first);
  const lost = stored.filter((content) => !contents.has(content));
  console.log(JSON.stringify({ stored: stored.length, lost }));
}
