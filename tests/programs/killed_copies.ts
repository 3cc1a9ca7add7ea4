/**
 * In the directory of the first argument, where this process may mount, kills servers at system
 * calls of uploads to a directory that is another mount, so that the file is copied. Prints the
 * number of kills of each way to upload as JSON.
 */
import { Client } from "@degu/degu/client";
import { upload, uploadTree } from "@degu/degu/files";
import { runOrThrow, startCommand } from "@degu/testing/commands.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { importMapFlags, makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { assert, assertEquals } from "@std/assert";

const [dir = ""] = Deno.args;
const root = `${dir}/root`;
const path = `${root}/mounted/new/file`;
const content = randomBytes(300_000).toHex();
/** The calls of x86-64 and arm64 that change a file system. */
const CALLS = [
  ...["openat", "pwrite64", "ftruncate", "fsync", "fdatasync", "rename", "renameat", "renameat2"],
  ...["link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"],
  ...["chmod", "fchmod", "fchmodat", "utimensat"],
];

/** Ways to upload, and what the file has before. */
const ways: Readonly<Record<string, [string | null, (client: Client) => Promise<unknown>]>> = {
  upload: ["old", (client) => upload(client, `${dir}/local/file`, ["mounted", "new", "file"])],
  uploadTree: [null, (client) => uploadTree(client, `${dir}/local`, "/mounted/new/")],
};

async function startServer(): Promise<{ process: RunningProcess; client: Client }> {
  const access = ["--allow-net=127.0.0.1", `--allow-read=${dir}`, `--allow-write=${dir}`];
  const command = makeProgramCommand("transfer.ts", {
    flags: [...access, ...importMapFlags()],
    args: ["serve", "0", root, ""],
  });
  const process = new RunningProcess(command.spawn());
  const [, port]: [string, number] = JSON.parse(await process.waitForStdout(/.*\n/));
  return { process, client: new Client(["127.0.0.1", port], { timeout: 60 }) };
}

/** Sends the file to a server that is killed at the nth call, and returns whether it was killed. */
async function sendToKilled(
  send: (client: Client) => Promise<unknown>,
  call: string,
  nth: number,
): Promise<boolean> {
  const { process, client } = await startServer();
  await using _process = process;
  const args = ["-f", "-p", `${process.child.pid}`, "-o", "/dev/null", "-e", `trace=?${call}`];
  await using tracer = new RunningProcess(
    startCommand(["strace", ...args, "-e", `inject=?${call}:signal=KILL:when=${nth}`]),
  );
  await tracer.waitForStderr(/attached/);
  try {
    await send(client);
    return false;
  } catch {
    await process.waitForEnd();
    return true;
  }
}

await fill(dir, { "local/file": content, other: null, "root/mounted": null });
await runOrThrow(["mount", "--bind", `${dir}/other`, `${root}/mounted`]);
const kills: Record<string, number> = {};
for (const [way, [old, send]] of Object.entries(ways)) {
  kills[way] = 0;
  for (const call of CALLS) {
    for (let nth = 1, isKilled = true; isKilled; nth++) {
      const label = `${way}, killed at ${call} ${nth}`;
      await Deno.remove(`${dir}/other/new`, { recursive: true }).catch(() => {});
      if (old !== null) await fill(dir, { "other/new/file": old });
      isKilled = await sendToKilled(send, call, nth);
      const text = await Deno.readTextFile(path).catch(() => null);
      assert(text === content || isKilled && text === old, `${label}: the file is torn`);
      if (!isKilled) continue;
      kills[way]++;
      const { process, client } = await startServer();
      await using _process = process;
      await send(client);
      assert(await Deno.readTextFile(path) === content, `${label}: the file differs`);
      // The next file of the directory removes what the killed server has left.
      await Deno.remove(path);
      await send(client);
      const files = Object.entries(await readTree(root)).filter(([, text]) => text !== null);
      assertEquals(files.map(([path]) => path), ["mounted/new/file"], label);
    }
  }
}
console.log(JSON.stringify(kills));
