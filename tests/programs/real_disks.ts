/**
 * Copies files to `disk` in the directory of the first argument, and from it, in every way that
 * people do. Prints the outcome of each step as JSON: `"ok"`, or what went wrong.
 */
import { Client } from "@degu/degu/client";
import {
  download,
  downloadTree,
  FilesApp,
  TransferError,
  type TreeEvent,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { fill, readTree } from "@degu/testing/directories.ts";
import { importMapFlags, makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const [dir = ""] = Deno.args;
const disk = `${dir}/disk`;
const root = `${disk}/root`;
const local = `${dir}/local`;

/** Several pieces of a body, so that the disk gets several writes. */
const makeLarge = () => randomBytes(300_000).toHex();

const files: Record<string, string> = {
  small: "small",
  empty: "",
  large: makeLarge(),
  "sub/deep/small": "1",
  "sub/large": makeLarge(),
  // mergerfs may have this directory on another branch.
  "other/small": "2",
  "other/large": makeLarge(),
};

/** Times that some disks don't have, by the name of a file. */
const times: Record<string, number> = { zero: 0, old: -157_766_400, far: 4_200_000_000 };

async function readVisible(directory: string): Promise<Record<string, string | null>> {
  const entries = Object.entries(await readTree(directory));
  return Object.fromEntries(
    entries.filter(([path, content]) => content !== null && !/(^|\/)\.degu-/.test(path)),
  );
}

const outcomes: Record<string, string> = {};

async function step(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    outcomes[name] = "ok";
  } catch (error) {
    const lines = [`${(error as Error).message}`, ...logger.messagesOf("warn")];
    outcomes[name] = lines.join("\n").slice(0, 4000);
  }
}

await Deno.mkdir(root, { recursive: true });
await fill(local, files);
for (const path of Object.keys(files)) await Deno.utime(`${local}/${path}`, 1e9, 1e9);
await fill(`${dir}/times`, Object.fromEntries(Object.keys(times).map((name) => [name, name])));
for (const [name, seconds] of Object.entries(times)) {
  await Deno.utime(`${dir}/times/${name}`, seconds, seconds);
}

const logger = new RecordingLogger();
const makeServing = () =>
  serve(new FilesApp(root, { list: true, write: true, reuse: true, logger }));

function collect(events: TreeEvent[]) {
  return { partial: true, onEvent: (event: TreeEvent) => void events.push(event) } as const;
}

function describeFailures(events: readonly TreeEvent[]): string {
  const errors = events.flatMap((event) => event.type === "failed" ? [`${event.error}`] : []);
  return [...errors, ...logger.messagesOf("warn")].join("\n");
}

/** Repeats an upload while the disk sets the time of the older file, as rclone does after a write. */
async function uploadAgain(...args: Parameters<typeof upload>): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      await upload(...args);
      return;
    } catch (error) {
      const isChanged = error instanceof TransferError && error.code === "TARGET_CHANGED";
      if (!isChanged || attempt === 100) throw error;
    }
  }
}

{
  await using serving = makeServing();
  const client = serving.makeClient();
  const uris = ["large", "small", "other/large"];
  const putAll = async () => {
    const results = [];
    for (const uri of uris) {
      results.push(await upload(client, `${local}/${uri}`, ["single", ...uri.split("/")]));
    }
    return results;
  };
  await step("put", async () => {
    await putAll();
    for (const uri of uris) {
      assert(await Deno.readTextFile(`${root}/single/${uri}`) === files[uri], `${uri} differs`);
    }
  });
  await step("put again", async () => {
    assertEquals((await putAll()).map(({ bytes }) => bytes), [0, 0, 0]);
  });
  await step("put --force", async () => {
    for (const text of ["new", makeLarge()]) {
      await Deno.writeTextFile(`${dir}/new`, text);
      await uploadAgain(client, `${dir}/new`, ["single", "large"]);
      assert(await Deno.readTextFile(`${root}/single/large`) === text, "the file differs");
    }
  });
  const sync = async (isDelete = false) => {
    const events: TreeEvent[] = [];
    const result = await uploadTree(client, local, "/tree/", {
      ...collect(events),
      delete: isDelete,
    });
    assert(result.complete, describeFailures(events));
    assert(
      JSON.stringify(await readVisible(`${root}/tree`)) ===
        JSON.stringify(await readVisible(local)),
      "the trees differ",
    );
    return result;
  };
  await step("sync", async () => void await sync());
  await step("sync again", async () => {
    const { files: copied, bytes, unchanged } = await sync();
    assertEquals([copied, bytes, unchanged], [0, 0, Object.keys(files).length]);
  });
  await step("sync changes", async () => {
    await fill(local, { small: "changed", large: makeLarge(), "new/file": "n" });
    await sync();
  });
  await step("sync renames", async () => {
    await Deno.rename(`${local}/large`, `${local}/other/renamed`);
    await sync(true);
  });
  await step("sync --delete", async () => {
    await Deno.remove(`${local}/sub`, { recursive: true });
    await Deno.remove(`${local}/small`);
    await sync(true);
    await Deno.remove(`${local}/other/small`);
    await fill(local, { "other/small/below": "a directory in place of a file" });
    // The first call deletes the file, and the second one copies the directory.
    await uploadTree(client, local, "/tree/", { delete: true, partial: true });
    await sync(true);
  });
  await step("get from the disk", async () => {
    await downloadTree(client, "/tree/", `${dir}/copy`);
    assert(
      JSON.stringify(await readVisible(`${dir}/copy`)) === JSON.stringify(await readVisible(local)),
      "the trees differ",
    );
  });
}

{
  await using serving = serve(new FilesApp(local, { list: true }));
  const client = serving.makeClient();
  const get = async () => {
    const events: TreeEvent[] = [];
    const options = { ...collect(events), delete: true };
    const result = await downloadTree(client, "/", `${root}/got`, options);
    assert(result.complete, describeFailures(events));
    assert(
      JSON.stringify(await readVisible(`${root}/got`)) === JSON.stringify(await readVisible(local)),
      "the trees differ",
    );
    return result;
  };
  await step("get", async () => {
    await get();
    const { files: copied, bytes } = await get();
    assertEquals([copied, bytes], [0, 0]);
    await fill(local, { one: makeLarge(), "other/renamed": makeLarge() });
    // exFAT can't tell two times of the same two seconds apart.
    await Deno.utime(`${local}/other/renamed`, 1.1e9, 1.1e9);
    await get();
    await download(client, "/one", `${root}/single/one`);
  });
}

/** What a disk stores beside content. */
const kept: Record<string, unknown> = {};
await step("times and bits", async () => {
  await using serving = makeServing();
  const client = serving.makeClient();
  await Deno.chmod(`${dir}/times/old`, 0o640);
  const events: TreeEvent[] = [];
  const result = await uploadTree(client, `${dir}/times`, "/times/", collect(events));
  assert(result.complete, describeFailures(events));
  const actual = Object.keys(times).filter((name) => {
    const stored = Deno.statSync(`${root}/times/${name}`).mtime!.getTime();
    return Math.abs(stored - times[name]! * 1000) > 2000;
  });
  // Each time that the disk has not kept is reported.
  const { files, first } = result.unset.time;
  assertEquals(files, actual.length);
  assert(first === null || actual.includes(first.join("/")), `${first}`);
  kept.lostTimes = actual.toSorted();
  kept.isModeKept = (Deno.statSync(`${root}/times/old`).mode! & 0o777) === 0o640;
});

await step("kill -9", async () => {
  const content = makeLarge();
  await Deno.writeTextFile(`${dir}/killed`, content);
  const flags = ["--allow-net=127.0.0.1", `--allow-read=${dir}`, `--allow-write=${dir}`];
  const names = ["a", "other/b"];
  for (let kill = 0; kill < 4; kill++) {
    const command = makeProgramCommand("transfer.ts", {
      flags: [...flags, ...importMapFlags()],
      args: ["serve", "0", root, ""],
    });
    await using running = new RunningProcess(command.spawn());
    const [, port]: [string, number] = JSON.parse(await running.waitForStdout(/.*\n/));
    const client = new Client(["127.0.0.1", port], { timeout: 60 });
    const name = names[kill % 2]!;
    let received = 0;
    await upload(client, `${dir}/killed`, ["killed", ...name.split("/")], {
      onProgress: ({ done }: { done: number }) => {
        received = done;
        if (received > content.length * kill / 4) running.kill();
      },
    }).catch(() => {});
    const path = `${root}/killed/${name}`;
    const text = await Deno.readTextFile(path).catch(() => null);
    assert(text === null || text === content, `${name} is torn`);
  }
  await using serving = makeServing();
  for (const name of names) {
    await uploadAgain(serving.makeClient(), `${dir}/killed`, ["killed", ...name.split("/")]);
    assert(await Deno.readTextFile(`${root}/killed/${name}`) === content, `${name} differs`);
  }
});

await step("put --keep", async () => {
  await fill(root, { "kept/file": "1" });
  try {
    await using serving = serve(new FilesApp(`${root}/kept`, { write: true, keep: 9, logger }));
    kept.versions = true;
    await Deno.writeTextFile(`${dir}/new`, "22");
    await upload(serving.makeClient(), `${dir}/new`, ["file"]);
    assertEquals(await Deno.readTextFile(`${root}/kept/file`), "22");
    const tree = Object.entries(await readTree(`${root}/kept/.degu-kept`));
    const versions = tree.filter(([path, text]) => text !== null && path.endsWith("/file"));
    assertEquals(versions.map(([, text]) => text), ["1"]);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotSupported)) throw error;
    kept.versions = false;
    assertStringIncludes(error.message, "so no versions can be kept");
  }
});

console.log(JSON.stringify({ outcomes, kept }));
