/**
 * Disks that fail: a directory that can't be read completely, a damaged entry, and a missing served
 * directory.
 */
import {
  download,
  downloadTree,
  FilesApp,
  listDirectory,
  listTree,
  type StatusError,
  TransferError,
  type TreeResult,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { makeOddDiskScript } from "../odd_disk.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { serve } from "@degu/testing/serving.ts";
import { copyInProcess, DIRECTIONS } from "@degu/testing/trees.ts";
import { assertEquals, assertRejects } from "@std/assert";
import { canMount, canRun, IN_MOUNT_NAMESPACE } from "../refused_writes.ts";

/** Returns a command that runs its arguments with a disk `disk` that has these faults. */
async function makeFailingDiskCommand(dir: string, faults: readonly string[]): Promise<string[]> {
  await fill(dir, { faults: faults.map((line) => `${line}\n`).join("") });
  return [...IN_MOUNT_NAMESPACE, await makeOddDiskScript(dir, 'plain "$0/faults"'), dir];
}

async function canFail(): Promise<boolean> {
  await using dir = await createTempDir();
  return await canRun(...await makeFailingDiskCommand(dir.path, []));
}

const mayFail = await canFail();

interface Row {
  readonly name: string;
  readonly faults: readonly string[];
  readonly source: Readonly<Record<string, string | null>>;
  readonly target: Readonly<Record<string, string | null>>;
  /** The paths that failed; `null` if the whole call rejects. */
  readonly failed: readonly string[] | null;
  readonly deletionsSkipped: TreeResult["deletionsSkipped"];
  /** The paths of the target after the call. */
  readonly remaining: readonly string[];
}

const rows: readonly Row[] = [
  ...["EIO", "EBADMSG", "EUCLEAN", "ESTALE"].map((code): Row => ({
    name: `a directory of the source that fails with ${code} in its middle`,
    faults: [`readdir 1 ${code} /source/d$`],
    source: { "d/a": "1", "d/b": "2", e: "3" },
    target: { "d/a": "1", "d/b": "2", old: "4" },
    failed: ["d"],
    deletionsSkipped: "incomplete",
    remaining: ["d/a", "d/b", "e", "old"],
  })),
  {
    name: "the source itself, which fails in its middle",
    faults: ["readdir 1 EIO /source$"],
    source: { a: "1", b: "2" },
    target: { b: "2", old: "3" },
    failed: null,
    deletionsSkipped: null,
    remaining: ["b", "old"],
  },
  // A disk of another machine has the errors of its connection.
  ...["EIO", "ESTALE", "ETIMEDOUT", "ECONNRESET", "ENOTCONN", "EHOSTDOWN"].map((code): Row => ({
    name: `a small and a large file of the source with a bad sector: ${code}`,
    faults: [`read 0 ${code} /source/d/bad`],
    source: { "d/bad": "1", "d/bad-large": "x".repeat(70_000), "d/good": "2" },
    target: { "d/bad": "00", old: "3" },
    failed: ["d/bad", "d/bad-large"],
    deletionsSkipped: "failed",
    remaining: ["d/bad", "d/good", "old"],
  })),
  {
    name: "a directory of the target that fails in its middle",
    faults: ["readdir 1 EIO /target/(d|gone)$"],
    source: { "d/a": "1", e: "2" },
    target: { "d/a": "0", "d/b": "2", "gone/a": "3" },
    failed: ["d", "d/a"],
    deletionsSkipped: "failed",
    remaining: ["d/a", "d/b", "e", "gone/a"],
  },
  {
    name: "an inode of the target whose lstat fails",
    faults: ["lstat 0 EIO /target/d/bad$"],
    source: { "d/bad": "1", "d/good": "2" },
    target: { "d/bad": "0", "d/other": "3" },
    failed: ["d/bad"],
    deletionsSkipped: "failed",
    remaining: ["d/bad", "d/good", "d/other"],
  },
  {
    name: "a file in a directory in the way, which can't be removed",
    faults: ["unlink 0 EIO /target/d/bad$"],
    source: { d: "1", e: "2" },
    target: { "d/bad": "3", "d/good": "4" },
    failed: ["d", "d/bad"],
    deletionsSkipped: null,
    remaining: ["d/bad", "e"],
  },
  {
    name: "the target itself, which fails in its middle",
    faults: ["readdir 1 EIO /target$"],
    source: { a: "1" },
    target: { b: "2", c: "3" },
    failed: null,
    deletionsSkipped: null,
    remaining: ["b", "c"],
  },
  ...[
    ...["EIO", "EBADMSG", "EUCLEAN", "ESTALE", "EREMOTEIO", "ENXIO", "ENOENT", "ETIMEDOUT"],
    "ENOTCONN",
  ].flatMap((code): Row[] => [
    {
      name: `an inode of the source whose lstat fails with ${code}`,
      faults: [`lstat 0 ${code} /source/d/bad$`],
      source: { "d/bad": "1", "d/good": "2" },
      target: { "d/bad": "0", old: "3" },
      failed: ["d/bad"],
      deletionsSkipped: "incomplete",
      remaining: ["d/bad", "d/good", "old"],
    },
    {
      name: `a small and a large file of the source that can't be opened: ${code}`,
      faults: [`open 0 ${code} /source/d/bad`],
      source: { "d/bad": "1", "d/bad-large": "x".repeat(70_000), "d/good": "2" },
      target: { "d/bad": "00", old: "3" },
      failed: ["d/bad", "d/bad-large"],
      deletionsSkipped: "failed",
      remaining: ["d/bad", "d/good", "old"],
    },
  ]),
];

Deno.test({
  name: "an entry that a disk can't read fails alone, and prevents deletions (needs FUSE)",
  ignore: !mayFail,
  async fn() {
    await using dir = await createTempDir();
    const jobs = rows.flatMap((row, i) => {
      return DIRECTIONS.map((direction) => ({ row, direction, place: `${i}${direction}` }));
    });
    for (const { row, place } of jobs) {
      for (const side of ["source", "target"] as const) {
        await fill(`${dir.path}/backing`, { [`${place}/${side}`]: null });
        await fill(`${dir.path}/backing/${place}/${side}`, row[side]);
      }
    }
    const faults = jobs.flatMap(({ row, place }) => {
      return row.faults.map((line) => line.replace(" /", ` ^/${place}/`));
    });
    const through = await makeFailingDiskCommand(dir.path, faults);
    const copies = jobs.map(({ direction, place }) => {
      return { direction, dir: `${dir.path}/disk/${place}` };
    });
    const results = await copyInProcess(through, copies);
    for (const [i, { row, direction, place }] of jobs.entries()) {
      const { outcomes = {}, rejection: rejected, result } = results[i]!;
      const context = `${direction}: ${row.name}: ${Deno.inspect(results[i])}`;
      const failedPaths = Object.keys(outcomes).filter((path) => outcomes[path] === "failed");
      assertEquals(rejected === undefined ? failedPaths.toSorted() : null, row.failed, context);
      if (rejected === undefined) {
        assertEquals(result.deletionsSkipped, row.deletionsSkipped, context);
      }
      const remaining = await filesBelow(`${dir.path}/backing/${place}/target`);
      assertEquals(remaining.toSorted(), row.remaining, context);
    }
  },
});

async function filesBelow(dir: string, below = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${dir}/${below}`)) {
    if (name.includes(".degu-")) continue;
    if (isDirectory) paths.push(...await filesBelow(dir, `${below}${name}/`));
    else paths.push(below + name);
  }
  return paths;
}

/** Makes a damaged ext4 with 400 files: a block of the directory is filled with zeros. */
const DAMAGED_EXT4 = 'truncate -s 20M "$0/image" && mkfs.ext4 -q -O ^has_journal "$0/image" && ' +
  'mount -o loop "$0/image" "$0/disk" && mkdir "$0/disk/source" "$0/disk/source/d" && ' +
  'for i in $(seq 400); do echo "$i" > "$0/disk/source/d/a-file-with-a-long-name-$i"; done && ' +
  'cp -a "$0/disk/source/." "$0/target" && umount "$0/disk" && ' +
  'block=$(debugfs -R "blocks /source/d" "$0/image" 2>/dev/null | cut -d" " -f2) && ' +
  'dd if=/dev/zero of="$0/image" bs=1024 seek="$block" count=1 conv=notrunc status=none && ' +
  'mount -o loop,ro,errors=continue "$0/image" "$0/disk" && ! ls "$0/disk/source/d" >/dev/null 2>&1 && ' +
  'ln -s "$0/disk/source" "$0/source"';
/** A loop device needs a user that is also root outside of the namespace. */
const MOUNTING_LOOPS = ["unshare", "--mount", "sh", "-c"];

async function mountDamaged(dir: string): Promise<string[]> {
  await fill(dir, { disk: null, target: null });
  const script = `${DAMAGED_EXT4} && { "$@"; code=$?; umount --lazy "$0/disk"; exit $code; }`;
  return [...MOUNTING_LOOPS, script, dir];
}

async function canDamage(): Promise<boolean> {
  await using dir = await createTempDir();
  return await canRun(...await mountDamaged(dir.path));
}

Deno.test({
  name:
    "a damaged ext4 causes no deletions, and unreadable entries are reported (needs loop mounts)",
  ignore: !await canDamage(),
  async fn() {
    for (const direction of DIRECTIONS) {
      await using dir = await createTempDir();
      const through = await mountDamaged(dir.path);
      const [copied] = await copyInProcess(through, [{ dir: dir.path, direction }]);
      assertEquals(copied!.outcomes, { d: "failed" }, Deno.inspect(copied));
      assertEquals([copied!.result.deletionsSkipped, copied!.deletedPaths], ["incomplete", []]);
      assertEquals((await filesBelow(`${dir.path}/target`)).length, 400);
    }
  },
});

Deno.test("while the served directory is missing, each request gets 503, and each call rejects as a whole", async () => {
  await using remoteDir = await createTempDir();
  await using localDir = await createTempDir();
  const root = `${remoteDir.path}/root`;
  await fill(remoteDir.path, { "root/a": "1", "root/d/b": "2" });
  await fill(localDir.path, { "tree/a": "3", "tree/c": "4", file: "5" });
  await using serving = serve(new FilesApp(root, { list: true, write: true }));
  const client = serving.makeClient();
  await Deno.rename(root, `${root}.moved`);
  const requests = [
    ...["/a", "/none", "/d/", "/", "/?tree"].flatMap((uri) => [["GET", uri], ["HEAD", uri]]),
    ...["get", "digest", "put"].map((kind) => ["POST", `/?bundle=${kind}`]),
    ...["/a", "/new"].map((uri) => ["PUT", uri]),
    ...["/a", "/d/"].map((uri) => ["DELETE", uri]),
  ] as ["GET" | "HEAD" | "POST" | "PUT" | "DELETE", string][];
  for (const [method, uri] of requests) {
    const body = method === "PUT" || method === "POST" ? new Uint8Array(0) : null;
    const response = await client.request(method, uri, {}, body);
    await response.body?.bytes();
    assertEquals(response.status, 503, `${method} ${uri}`);
  }
  const events: string[] = [];
  const onEvent = ({ type }: { type: string }) => void events.push(type);
  const calls: (() => Promise<unknown>)[] = [
    () => download(client, "/a", `${localDir.path}/copy`),
    () => upload(client, `${localDir.path}/file`, "/file"),
    () => downloadTree(client, "/", `${localDir.path}/tree`, { delete: true, onEvent }),
    () => uploadTree(client, `${localDir.path}/tree`, "/", { delete: true, onEvent }),
    () => Array.fromAsync(listDirectory(client, "/")),
    () => Array.fromAsync(listTree(client, "/")),
  ];
  const problem = "the directory that the server serves is missing; is its disk mounted?";
  for (const call of calls) {
    const { code, cause } = await assertRejects(call, TransferError, problem);
    assertEquals([code, (cause as StatusError).status], ["ROOT_GONE", 503]);
  }
  assertEquals(events, []);
  // Restore the directory.
  await Deno.rename(`${root}.moved`, root);
  await download(client, "/a", `${localDir.path}/copy`);
  assertEquals(await Deno.readTextFile(`${localDir.path}/copy`), "1");
});

Deno.test({
  name:
    "an unmounted served disk counts as missing, though its directory exists, and is served again after mounting (needs unshare)",
  ignore: !await canMount(),
  async fn() {
    await using dir = await createTempDir();
    await fill(dir.path, { "served/below": "not for peers", again: null });
    const script = 'mount -t tmpfs tmpfs "$0/again" && echo 1 > "$0/again/file" && ' +
      'mount --bind "$0/again" "$0/served" && exec "$@"';
    const printed = await runProgram("unmounted_root.ts", {
      flags: ["--allow-all", ...importMapFlags()],
      args: [`${dir.path}/served`, `${dir.path}/again`],
      through: [...IN_MOUNT_NAMESPACE, script, dir.path],
    });
    assertEquals(JSON.parse(printed), [[200, 404, 200], [503, 503, 503], [200, 404, 200]]);
  },
});
