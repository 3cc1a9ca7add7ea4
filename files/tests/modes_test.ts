/** The permission bits and groups of copied files. */
import { download, downloadTree, FilesApp, upload, uploadTree } from "@degu/degu/files";
import { makeBundle } from "./bundles.ts";
import { createTempDir, readMode } from "@degu/testing/directories.ts";
import { serveFiles, serveFilesApp } from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeCopy, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { digestOf } from "./written_directory.ts";
import { assertEquals } from "@std/assert";

const ignore = Deno.build.os === "windows";
const TIME = new Date("2020-02-29T12:34:56.789Z");
/** Sizes of files in a bundle, in a request of their own, and with a part that is resumed. */
const SIZES = [0, 5, 65_535, 65_536, 300_000];
/** The bits of a source, and those of its copy with the umask 022. */
const MODES: [source: number, copy: number][] = [
  [0o600, 0o600],
  [0o400, 0o600],
  [0o777, 0o755],
  [0o4755, 0o755],
  [0o000, 0o600],
];

/** The permission bits of a new file created with mode 0777; 0755 with the umask 022. */
const GRANTED = await (async () => {
  await using dir = await createTempDir();
  (await Deno.open(`${dir.path}/file`, { write: true, createNew: true, mode: 0o777 })).close();
  return await readMode(`${dir.path}/file`);
})();

/** The superuser can read a file with any permission bits. */
const isRoot = await (async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  await Deno.chmod(`${dir.path}/file`, 0);
  return await Deno.readTextFile(`${dir.path}/file`).then(() => true, () => false);
})();

/** Converts the bits of a copy with the umask 022 to the bits with this process's umask. */
function expectedModeOf(bits: number): number {
  return GRANTED === 0o755 ? bits : bits & GRANTED | 0o600;
}

function test(name: string, fn: () => Promise<void>): void {
  Deno.test(name, { ignore }, fn);
}

function testBoth(name: string, fn: (direction: TreeDirection) => Promise<void>): void {
  for (const direction of ["download", "upload"] as const) {
    test(`${direction}: ${name}`, () => fn(direction));
  }
}

async function write(path: string, size: number, bits: number, time = TIME): Promise<void> {
  await Deno.writeFile(path, new Uint8Array(size).fill(size + 1));
  await Deno.utime(path, time, time);
  await Deno.chmod(path, bits);
}

/** The modes of sources that this user can read. */
const READABLE = MODES.filter(([source]) => isRoot || (source & 0o400) !== 0)
  .map(([source, copy]): [number, number] => [source, expectedModeOf(copy)]);

testBoth(
  "a mode that is the only difference is set once, without sending the content",
  async (direction) => {
    const requests: string[] = [];
    await using trees = await makeTrees(direction, {}, {}, ({ method, headers }) => {
      requests.push(`${method} ${headers["file-mode"] ?? ""}`);
      return null;
    });
    await write(`${trees.source}/a`, 100_000, 0o700);
    await write(`${trees.target}/a`, 100_000, 0o644);
    const { result, events } = await trees.copy({ dryRun: true });
    assertEquals([result.unchanged, await readMode(`${trees.target}/a`)], [1, 0o644]);
    // While the lists take long, each second begins with an event of progress.
    const plan = events.find(({ type }) => type === "plan");
    assertEquals(plan, { type: "plan", files: 0, bytes: 0 });
    for (const options of [{ modes: false }, { replace: false }]) {
      await trees.copy(options);
      assertEquals(await readMode(`${trees.target}/a`), 0o644);
    }
    requests.length = 0;
    assertEquals((await trees.copy({ compare: "digest" })).result.unchanged, 1);
    assertEquals(await readMode(`${trees.target}/a`), 0o700);
    requests.length = 0;
    assertEquals((await trees.copy()).result.unchanged, 1);
    assertEquals(requests, ["GET "]);
    await Deno.chmod(`${trees.target}/a`, 0o600);
    requests.length = 0;
    await trees.copy();
    assertEquals(requests, direction === "upload" ? ["GET ", "PUT 0700"] : ["GET "]);
    assertEquals(await readMode(`${trees.target}/a`), 0o700);
  },
);

testBoth("a single file gets the bits of the source, new and replaced", async (direction) => {
  await using files = await serveFilesApp({ write: true });
  const { sourceDir, targetDir, copy: copyFile } = makeCopy(direction, files);
  for (const size of [5, 70_000]) {
    for (const [source, copy] of READABLE) {
      for (const dir of [sourceDir, targetDir]) await Deno.remove(`${dir}/f`).catch(() => {});
      await write(`${sourceDir}/f`, size, source);
      await copyFile("f");
      assertEquals(await readMode(`${targetDir}/f`), copy, `${size} ${source.toString(8)}`);
      // First an identical file, then a different one.
      await Deno.chmod(`${targetDir}/f`, 0o640);
      await copyFile("f", { modes: false });
      assertEquals(await readMode(`${targetDir}/f`), 0o640);
      await copyFile("f");
      assertEquals(await readMode(`${targetDir}/f`), copy);
      await Deno.chmod(`${sourceDir}/f`, 0o600);
      await write(`${sourceDir}/f`, size + 1, source);
      await copyFile("f");
      assertEquals(await readMode(`${targetDir}/f`), copy);
    }
  }
});

test("a client gets modes in lists and bundles, and the mask, only if it requests them", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { list: true, write: true }));
  await write(`${files.serverDir}/f`, 5, 0o700);
  for (const query of ["", "?tree"]) {
    for (const wantsModes of [false, true]) {
      const accept = "application/json";
      const headers = { accept, ...wantsModes ? { "want-file-mode": "?1" } : {} };
      const list = await files.client.request("GET", `/${query}`, headers);
      assertEquals((await list.body!.text()).includes('"mode":"0700"'), wantsModes);
      assertEquals(list.headers["file-mode-mask"], undefined);
      const maskResponse = await files.client.request("GET", `/${query}`, {
        accept,
        "want-file-mode-mask": "?1",
      });
      assertEquals((await maskResponse.body!.text()).includes('"mode"'), false);
      assertEquals(maskResponse.headers["file-mode-mask"], `0${GRANTED.toString(8)}`);
      const paths = new TextEncoder().encode('["f"]\n');
      const bundle = await files.client.request("POST", "/?bundle=get", headers, paths);
      assertEquals((await bundle.body!.text()).includes('"mode":"0700"'), wantsModes);
    }
  }
  assertEquals((await files.client.request("GET", "/f")).headers["file-mode"], "0700");
  assertEquals([...Deno.readDirSync(files.serverDir)].length, 1);
});

test("an app with modes: false ignores the permission bits of a peer", async () => {
  {
    await using files = await serveFilesApp({ list: true, write: true, modes: false });
    const { client, clientDir, serverDir } = files;
    await Deno.mkdir(`${clientDir}/tree`);
    for (const size of SIZES) await write(`${clientDir}/tree/${size}`, size, 0o777);
    await uploadTree(client, `${clientDir}/tree`, "/tree/");
    await upload(client, `${clientDir}/tree/5`, "/alone");
    const bytes = makeBundle([["bundled", "x", { mode: "0777" }]]);
    await (await client.request("POST", "/?bundle=put", {}, bytes)).discard();
    const names = [...SIZES.map((size) => `tree/${size}`), "alone", "bundled"];
    for (const name of names) {
      assertEquals(await readMode(`${serverDir}/${name}`), expectedModeOf(0o644), name);
    }
  }
});

test("bits that modeMask lacks are not set on downloaded files", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { list: true }));
  const { client, clientDir, serverDir } = files;
  for (const size of SIZES) await write(`${serverDir}/${size}`, size, 0o700);
  for (const isSecondCopy of [false, true]) {
    const options = { modeMask: 0o666 };
    const { unchanged } = await downloadTree(client, "/", `${clientDir}/tree`, options);
    assertEquals(unchanged, isSecondCopy ? SIZES.length : 0);
  }
  await download(client, "/5", `${clientDir}/tree/alone`, { modeMask: 0o666 });
  const names = [...SIZES.map(String), "alone"];
  for (const name of names) assertEquals(await readMode(`${clientDir}/tree/${name}`), 0o600, name);
});

test('write: "add": an existing file keeps its mode, and no request changes it', async () => {
  const requests: string[] = [];
  await using files = await serveFilesApp({ list: true, write: "add" }, ({ method }) => {
    requests.push(method);
    return null;
  });
  const { client, clientDir, serverDir } = files;
  for (const [dir, bits] of [[clientDir, 0o700], [serverDir, 0o640]] as const) {
    await Deno.mkdir(`${dir}/tree`);
    await write(`${dir}/tree/f`, 5, bits);
  }
  assertEquals((await uploadTree(client, `${clientDir}/tree`, "/tree/")).unchanged, 1);
  assertEquals([requests, await readMode(`${serverDir}/tree/f`)], [["GET"], 0o640]);
  await write(`${clientDir}/tree/new`, 5, 0o700);
  await uploadTree(client, `${clientDir}/tree`, "/tree/");
  assertEquals(await readMode(`${serverDir}/tree/new`), 0o700);
});

test("a PUT of a mode alone needs a condition and an existing file", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
  const { client, serverDir } = files;
  const stamp = `5,${TIME.toISOString()}`;
  const rows: [uri: string, headers: Record<string, string>, status: number, mode: number][] = [
    ["/f", {}, 204, expectedModeOf(0o755)],
    ["/f", { "if-file-stamp": stamp }, 204, expectedModeOf(0o755)],
    ["/f", { "if-file-stamp": `6,${TIME.toISOString()}` }, 412, 0o640],
    ["/f", { "if-none-match": "*" }, 412, 0o640],
    ["/f", { "file-mode": "755" }, 400, 0o640],
    ["/f", { "file-mode": "04755" }, 400, 0o640],
    // A file with this digest is identical.
    ["/f", { "repr-digest": digestOf(new Uint8Array(5).fill(6)) }, 204, expectedModeOf(0o755)],
    ["/none", {}, 404, 0o640],
    ["/", {}, 403, 0o640],
  ];
  for (const [uri, headers, status, bits] of rows) {
    await write(`${serverDir}/f`, 5, 0o640);
    const allHeaders = {
      "file-mode": "0777",
      "upload-offset": "5",
      "upload-length": "5",
      ...headers,
    };
    const response = await client.request("PUT", uri, allHeaders, new Uint8Array(0));
    await response.discard();
    const actual = [response.status, await readMode(`${serverDir}/f`)];
    assertEquals(actual, uri === "/" ? [actual[0], bits] : [status, bits], JSON.stringify(headers));
    const { size, mtime } = await Deno.stat(`${serverDir}/f`);
    assertEquals([size, mtime], [5, TIME]);
  }
  // Without an offset, it is a new empty file.
  const response = await client.request("PUT", "/new", { "file-mode": "0700" }, new Uint8Array(0));
  await response.discard();
  assertEquals([response.status, await readMode(`${serverDir}/new`)], [201, expectedModeOf(0o700)]);
});

testBoth(
  "a file that changes after it was listed keeps its mode, and fails alone",
  async (direction) => {
    let isListed = false;
    await using trees = await makeTrees(direction, {}, {}, async ({ method }, respond) => {
      if (direction === "download" || method !== "PUT") return null;
      await change();
      return await respond();
    });
    const change = async () => {
      isListed = true;
      await write(`${trees.target}/a`, 5, 0o640, new Date());
    };
    await write(`${trees.source}/a`, 5, 0o700);
    await write(`${trees.target}/a`, 5, 0o640);
    const onEvent = ({ type }: { type: string }) => {
      if (type === "plan" && direction === "download") {
        isListed = true;
        Deno.utimeSync(`${trees.target}/a`, new Date(), new Date());
      }
    };
    const { result, outcomes } = await trees.copy({ onEvent });
    assertEquals([isListed, result.failed, outcomes], [true, 1, { a: "failed" }]);
    assertEquals(await readMode(`${trees.target}/a`), 0o640);
  },
);

// Groups: a directory with the set-group-ID bit passes on its group.

const SHARED_GROUP = 54321;
const LARGE = "x".repeat(70_000);

async function canChangeGroups(): Promise<boolean> {
  if (Deno.build.os !== "linux") return false;
  await using dir = await createTempDir();
  try {
    await Deno.chown(dir.path, null, SHARED_GROUP);
    return true;
  } catch {
    console.warn("This user can't change groups: tests are skipped");
    return false;
  }
}

const canShare = await canChangeGroups();

async function share(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  await Deno.chown(path, null, SHARED_GROUP);
  await Deno.chmod(path, 0o2775);
}

const groupOf = async (path: string) => (await Deno.stat(path)).gid;

if (canShare) {
  Deno.test.each(DIRECTIONS)(
    "%s: a file gets the group of a directory with the set-group-ID bit, and else that of the process",
    async (direction) => {
      const files = {
        "family/small": "1",
        "family/large": LARGE,
        "family/empty": "",
        "family/new/deep/small": "2",
        "family/new/deep/large": LARGE,
        "family/replaced": "3",
        "family/blocked": LARGE,
        "family/file/below": LARGE,
        "own/small": "4",
        "own/large": LARGE,
      };
      await using trees = await makeTrees(direction, files);
      await share(`${trees.target}/family`);
      await Deno.writeTextFile(`${trees.target}/family/replaced`, "of another group");
      await Deno.mkdir(`${trees.target}/family/blocked`);
      await Deno.writeTextFile(`${trees.target}/family/file`, "blocks a directory");
      const ownGroup = await groupOf(trees.target);
      // The first call deletes the entries in the way.
      assertEquals((await trees.copy({ delete: true })).result.failed, 3);
      assertEquals((await trees.copy({ delete: true })).result.failed, 0);
      for (const path of Object.keys(files)) {
        const expected = path.startsWith("family/") ? SHARED_GROUP : ownGroup;
        assertEquals(await groupOf(`${trees.target}/${path}`), expected, path);
      }
      assertEquals(await groupOf(`${trees.target}/family/new/deep`), SHARED_GROUP);
    },
  );

  Deno.test("uploads of single files and of streams get the group of their directory", async () => {
    await using trees = await makeTrees("upload", { small: "1", large: LARGE });
    const { client, source, target } = trees;
    await share(`${target}/family`);
    for (const name of ["small", "large"]) {
      await upload(client, `${source}/${name}`, ["tree", "family", name]);
    }
    await upload(client, new Blob(["streamed"]).stream(), ["tree", "family", "streamed"]);
    const response = await client.request("PUT", "/tree/family/new/put", {}, new Uint8Array(5));
    assertEquals(response.status, 201);
    for (const name of ["small", "large", "streamed", "new/put"]) {
      assertEquals(await groupOf(`${target}/family/${name}`), SHARED_GROUP, name);
    }
  });
}

test("move: files that leave an outbox keep their bits", async () => {
  for (const uri of ["/tree/", "/new/"]) {
    await using trees = await makeTrees("upload");
    for (const size of SIZES) await write(`${trees.source}/${size}`, size, 0o700);
    const options = { move: true, settled: 0 };
    const { files, pending } = await uploadTree(trees.client, trees.source, uri, options);
    assertEquals(files + pending, SIZES.length);
    const targetDir = trees.target.replace(/tree$/, uri.slice(1, -1));
    for (const size of SIZES) assertEquals(await readMode(`${targetDir}/${size}`), 0o700);
  }
});
