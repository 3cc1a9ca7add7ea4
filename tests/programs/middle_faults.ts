/**
 * Copies trees with a file whose disk fails in its middle, by the program, the library and rsync.
 * Prints the results as JSON.
 */

import { FilesApp } from "@degu/degu/files";
import { AgentFiles } from "../../agent/tests/agent_files.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { fill } from "@degu/testing/directories.ts";
import { mountOddDisk } from "../../files/tests/odd_disk.ts";
import { serve } from "@degu/testing/serving.ts";
import { copyTree } from "@degu/testing/trees.ts";

const [dir = ""] = Deno.args;
const hasRsync = await new Deno.Command("rsync", { args: ["--version"] }).output()
  .then(() => true, () => false);
/** The first byte that fails. No other file is as large. */
const FAULT = 3_000_000;
const FAULTS: Readonly<Record<string, (operation: string) => string>> = {
  error: (operation) => `${operation} ${FAULT} EIO`,
  end: (operation) => `short-${operation} ${FAULT} -`,
  pause: (operation) => `pause-${operation} ${FAULT} -`,
};
const SIDES: Readonly<Record<string, readonly string[]>> = {
  error: ["source", "target", "replaced file"],
  end: ["source"],
  pause: ["source", "target"],
};
const OLD = new Date("2020-01-02T03:04:05Z");
const OLD_TEXT = "x".repeat(5_000_000);
const tree: Record<string, string> = { bad: "b".repeat(OLD_TEXT.length) };
for (let index = 0; index < 20; index++) tree[`d/small-${index}`] = `${index}`.repeat(1000);
for (const name of ["a-large", "c-large", "d/z-large"]) tree[name] = name.repeat(100_000);

interface Result {
  /** The exit code; of the library, the number of failed files. */
  readonly code: number;
  /** The lines on stderr; of the library, the paths of failed files. */
  readonly errors: readonly string[];
  /** The paths whose files didn't arrive. */
  readonly missing: readonly string[];
  /** The paths that the source still has. */
  readonly kept: readonly string[];
}

await fill(dir, { backing: null, disk: null, faults: "" });
const unmount = await mountOddDisk(`${dir}/backing`, `${dir}/disk`, "plain", `${dir}/faults`);
// `--move` keeps files that were changed within the last seconds.
using _clock = setClockAhead();
await using files = await AgentFiles.start();
const disk = (path: string) => `${dir}/disk/${path}`;
const backing = (path: string) => `${dir}/backing/${path}`;
await fill(backing("share"), { "": null, "../inboxes": null, "../local": null });
await files.serve("--share", disk("share"), "--inbox", disk("inboxes"));
await files.runToSuccess("ls", "--inbox", "camera:");

const SYNC = ["sync", "--delete"];
const DOWNLOADS: Readonly<Record<string, readonly string[]>> = {
  "get -r": ["get", "-r", "camera:tree", disk("local")],
  "sync from": [...SYNC, "camera:tree", disk("local/tree")],
  "sync --checksum from": [...SYNC, "--checksum", "camera:tree", disk("local/tree")],
};
const UPLOADS: Readonly<Record<string, readonly string[]>> = {
  "put -r": ["put", "-r", disk("local/tree"), "camera:"],
  "sync to": [...SYNC, disk("local/tree"), "camera:tree"],
  "sync --move to": ["sync", "--move", disk("local/tree"), "camera:tree"],
};

async function copyByLibrary(direction: "download" | "upload", remote: string, local: string) {
  const app = new FilesApp(disk(remote), { list: true, write: true, reuse: true });
  await using serving = serve(app);
  const client = serving.makeClient();
  const { outcomes } = await copyTree(direction, client, disk(`${local}/tree`), "/tree/", {
    retries: 1,
  } as never);
  const errors = Object.keys(outcomes).filter((path) => outcomes[path] === "failed");
  return { code: errors.length, errors };
}

async function copyByRsync(from: string, to: string) {
  const args = ["-a", disk(`${from}/tree`), disk(to)];
  const { code, stderr } = await new Deno.Command("rsync", { args }).output();
  return { code, errors: new TextDecoder().decode(stderr).split("\n").slice(0, 1) };
}

async function copyByProgram(args: readonly string[]) {
  const { code, stderr } = await files.run(...args);
  return { code, errors: stderr.split("\n").filter((line) => line.includes("error")) };
}

async function list(root: string, isEqual: (path: string, text: string | null) => boolean) {
  const paths: string[] = [];
  for (const path of Object.keys(tree)) {
    const text = await Deno.readTextFile(backing(`${root}/tree/${path}`)).catch(() => null);
    if (isEqual(path, text)) paths.push(path);
  }
  return paths;
}

const results: Record<string, Record<string, Result>> = {};
for (const [fault, formatLine] of Object.entries(FAULTS)) {
  for (const side of SIDES[fault]!) {
    const row: Record<string, Result> = results[`${fault} at the ${side}`] = {};
    const run = async (
      name: string,
      isUpload: boolean,
      copy: () => Promise<Pick<Result, "code" | "errors">>,
    ) => {
      const [from, to] = isUpload
        ? ["local", "inboxes/viewer"] as const
        : ["share", "local"] as const;
      for (const path of ["share", "local", "inboxes/viewer"]) {
        await Deno.remove(backing(`${path}/tree`), { recursive: true }).catch(() => {});
      }
      await fill(backing(`${from}/tree`), tree);
      for (const path of Object.keys(tree)) {
        await Deno.utime(backing(`${from}/tree/${path}`), OLD, OLD);
      }
      if (name.startsWith("sync")) await fill(backing(`${to}/tree`), { bad: OLD_TEXT });
      const line = side === "target"
        ? `${formatLine("write")} .`
        : `${formatLine("read")} ^/${side === "source" ? from : to}/tree/bad$`;
      await Deno.writeTextFile(`${dir}/faults`, `${line}\n`);
      const end = await copy();
      await Deno.writeTextFile(`${dir}/faults`, "");
      row[name] = {
        ...end,
        missing: await list(to, (path, text) => text !== tree[path]),
        kept: await list(from, (_, text) => text !== null),
      };
    };
    for (const [name, args] of Object.entries(DOWNLOADS)) {
      await run(name, false, () => copyByProgram(args));
    }
    for (const [name, args] of Object.entries(UPLOADS)) {
      await run(name, true, () => copyByProgram(args));
    }
    await run("downloadTree", false, () => copyByLibrary("download", "share", "local"));
    await run("uploadTree", true, () => copyByLibrary("upload", "inboxes/viewer", "local"));
    if (hasRsync) await run("rsync", false, () => copyByRsync("share", "local"));
  }
}
await unmount();
console.log(JSON.stringify(results));
