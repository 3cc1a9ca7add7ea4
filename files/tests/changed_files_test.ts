/** Files that change while they are copied arrive as one version, or the target stays as it was. */
import { type FileHandle, open } from "node:fs/promises";
import { Client } from "@degu/degu";
import {
  download,
  downloadTree,
  remoteDigest,
  upload,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import {
  contentOf,
  hasChanged,
  isSame,
  LARGE,
  makeChangedCopyTests,
  SETTLED_MILLISECONDS,
  SMALL,
} from "./changed_copies.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { LARGE_BYTES, SMALL_BYTES } from "./file_changes.ts";
import { patch } from "@degu/testing/patching.ts";
import { concat } from "@degu/testing/streams.ts";
import { randomBytes, serveFilesApp } from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeCopy } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

// Of a large file, each pair of a method, a change, a moment and an age; of a small file, each
// method with each change at each moment. `long/changed_files_test.ts` has all combinations.
const chosenTests = makeChangedCopyTests((
  { changeIndex, methodIndex, momentIndex, momentCount, ageIndex, ageCount, isSmall },
) => {
  const age = isSmall
    ? changeIndex + methodIndex + momentIndex
    : Math.floor(methodIndex / momentCount) + changeIndex;
  return age % ageCount === ageIndex &&
    (isSmall || (changeIndex + methodIndex) % momentCount === momentIndex);
});
for (const test of chosenTests) Deno.test(test);

// A file that changes after its metadata were read, and before its first byte is read.

/** More bytes than a file in a bundle has. */
const EARLY_BYTES = 200_000;
const EARLY = randomBytes(EARLY_BYTES);

/** Changes of a file of {@linkcode EARLY} content, whose new content and time belong together. */
const EARLY_CHANGES: Readonly<Record<string, Uint8Array<ArrayBuffer>>> = {
  "overwritten with the same size": randomBytes(EARLY_BYTES),
  "overwritten and longer": randomBytes(EARLY_BYTES + 100_000),
  "overwritten and shorter": randomBytes(EARLY_BYTES - 100_000),
  "emptied": new Uint8Array(),
  "appended to": concat([EARLY, SMALL]),
};

/** Serves a directory, and runs an action before the first response to a request of a method. */
async function serveWithChange(method: string, act: () => void) {
  let hasRun = false;
  const files = await serveFilesApp({ list: true, write: true }, (request) => {
    const isDue = request.method === method && !hasRun && request.query === null;
    if (isDue) {
      hasRun = true;
      act();
    }
    return null;
  });
  for (const dir of [files.clientDir, files.serverDir]) await Deno.mkdir(`${dir}/tree`);
  return files;
}

/** Writes a file in place, as other programs do, with a time. */
function writeInPlace(path: string, content: Uint8Array<ArrayBuffer>, modified: Date): void {
  Deno.writeFileSync(path, content);
  Deno.utimeSync(path, modified, modified);
}

const FIRST_TIME = new Date("2026-01-02T03:04:05.678Z");
const SECOND_TIME = new Date("2026-02-03T04:05:06.789Z");

const EARLY_WAYS: Readonly<Record<string, UploadTreeOptions | null>> = {
  "upload": null,
  "uploadTree": {},
  "move": { move: true, settled: 0 },
};

for (const [change, changedContent] of Object.entries(EARLY_CHANGES)) {
  for (const [way, treeOptions] of Object.entries(EARLY_WAYS)) {
    Deno.test(`${way}: a file that is ${change} before its first byte is read gets the time of its new content`, async () => {
      let source = "";
      await using files = await serveWithChange(
        "HEAD",
        () => writeInPlace(source, changedContent, SECOND_TIME),
      );
      source = `${files.clientDir}/tree/x`;
      const copy = `${files.serverDir}/tree/x`;
      writeInPlace(source, EARLY, FIRST_TIME);
      using _clock = setClockAhead(SETTLED_MILLISECONDS);
      const run = () =>
        treeOptions === null
          ? upload(files.client, source, "/tree/x")
          : uploadTree(files.client, `${files.clientDir}/tree`, "/tree/", treeOptions);
      await run();
      assert(isSame(contentOf(copy), changedContent));
      assertEquals((await Deno.stat(copy)).mtime, SECOND_TIME);
      // Only the content that was sent is removed.
      assertEquals(contentOf(source) === "nothing", treeOptions?.move === true);
      // The source is restored with its first time.
      writeInPlace(source, EARLY, FIRST_TIME);
      await run();
      assert(isSame(contentOf(copy), EARLY), "the second run found no difference");
      assertEquals((await Deno.stat(copy)).mtime, FIRST_TIME);
    });
  }
}

/** Calls a function before each of the first calls of a method. */
function actBefore<T extends object, K extends keyof T>(
  prototype: T,
  method: K,
  act: () => void,
  count: number,
): Disposable {
  let callCount = 0;
  return patch(prototype, method, (call) =>
    function (this: unknown, ...args: never[]) {
      if (callCount++ < count) act();
      return Reflect.apply(call as (...args: never[]) => unknown, this, args);
    } as T[K]);
}

/** Returns the prototype of the open files of `node:fs`. */
async function fileHandlePrototype(path: string): Promise<FileHandle> {
  const handle = await open(path);
  await handle.close();
  return Object.getPrototypeOf(handle);
}

for (const bytes of [1000, 100_000, LARGE_BYTES]) {
  for (const direction of DIRECTIONS) {
    const transferred = async (changeCount: number, act: (source: string) => void) => {
      await using files = await serveFilesApp({ list: true, write: true, reuse: true });
      const { sourceDir, targetDir, copy: copyFile } = makeCopy(direction, files);
      const [source, copy] = [`${sourceDir}/x`, `${targetDir}/x`];
      writeInPlace(source, randomBytes(bytes), FIRST_TIME);
      using _clock = setClockAhead(SETTLED_MILLISECONDS);
      {
        using _change = direction === "upload"
          ? actBefore(Deno.FsFile.prototype, "seekSync", () => act(source), changeCount)
          : actBefore(await fileHandlePrototype(source), "read", () => act(source), changeCount);
        await copyFile("x");
      }
      const { mtime } = await Deno.stat(copy);
      return { source: contentOf(source), copy: contentOf(copy), mtime };
    };

    Deno.test(`${direction}: a file of ${bytes} bytes that is replaced by longer content between its metadata and its first byte arrives with both`, async () => {
      const longer = randomBytes(bytes + 100_000);
      const lengthen = (source: string) => writeInPlace(source, longer, SECOND_TIME);
      const { copy, mtime } = await transferred(1, lengthen);
      assert(isSame(copy, longer));
      assertEquals(mtime, SECOND_TIME);
    });

    Deno.test(`${direction}: a file of ${bytes} bytes that grows at each first read arrives with the time of its last change`, async () => {
      let growCount = 0;
      const { source, copy, mtime } = await transferred(3, (source) => {
        Deno.writeFileSync(source, new Uint8Array(1), { append: true });
        const time = new Date(FIRST_TIME.getTime() + ++growCount * 1000);
        Deno.utimeSync(source, time, time);
      });
      assert(typeof copy !== "string" && typeof source !== "string");
      assert(isSame(copy, source.subarray(0, copy.length)));
      assertEquals([growCount, (Number(mtime) - Number(FIRST_TIME)) / 1000], [3, 3]);
    });
  }
}

Deno.test("the stamp of a file that grows at each first read has the number of sent bytes", async () => {
  await using files = await serveFilesApp({});
  const source = `${files.serverDir}/x`;
  writeInPlace(source, randomBytes(1000), FIRST_TIME);
  const grow = () => Deno.writeFileSync(source, new Uint8Array(1), { append: true });
  using _change = actBefore(await fileHandlePrototype(source), "read", grow, 3);
  const { headers, body } = await files.client.get("/x");
  const { length } = await body!.bytes();
  assertEquals([length, `${headers["file-stamp"]}`.split(",")[0]], [1002, "1002"]);
});

Deno.test("upload: an empty file that gets content before its first byte is read is sent with it", async () => {
  let source = "";
  const content = randomBytes(LARGE_BYTES);
  await using files = await serveWithChange(
    "HEAD",
    () => writeInPlace(source, content, SECOND_TIME),
  );
  source = `${files.clientDir}/tree/x`;
  writeInPlace(source, new Uint8Array(), FIRST_TIME);
  await upload(files.client, source, "/tree/x");
  assert(isSame(contentOf(`${files.serverDir}/tree/x`), content));
  assertEquals((await Deno.stat(`${files.serverDir}/tree/x`)).mtime, SECOND_TIME);
});

/** Writes a file before each of the first reads of a file, and truncates it after all but the last. */
async function rewriteAtReads(path: string, content: Uint8Array<ArrayBuffer>, count: number) {
  let readCount = 0;
  const aroundRead = <T extends object, K extends keyof T>(prototype: T, method: K) =>
    patch(prototype, method, (read) =>
      async function (this: unknown, ...args: never[]) {
        if (++readCount <= count) writeInPlace(path, content, SECOND_TIME);
        const result = await Reflect.apply(read as (...args: never[]) => unknown, this, args);
        if (readCount < count) Deno.truncateSync(path);
        return result;
      } as T[K]);
  const handlePatch = aroundRead(await fileHandlePrototype(path), "read");
  const filePatch = aroundRead(Deno.FsFile.prototype, "read");
  return {
    [Symbol.dispose]() {
      filePatch[Symbol.dispose]();
      handlePatch[Symbol.dispose]();
    },
  };
}

for (const call of ["upload", "download", "remoteDigest", "uploadTree", "downloadTree"] as const) {
  Deno.test(`${call}: a file that another program truncates and writes several times isn't taken for a file without a size`, async () => {
    await using files = await serveFilesApp({ list: true, write: true });
    const { client, serverDir, clientDir } = files;
    const isUpload = call.startsWith("upload");
    const [source, target] = isUpload ? [clientDir, serverDir] : [serverDir, clientDir];
    const [path, content] = [`${source}/tree/x`, randomBytes(EARLY_BYTES)];
    for (const dir of [source, target]) Deno.mkdirSync(`${dir}/tree`, { recursive: true });
    writeInPlace(path, content, FIRST_TIME);
    using _rewriting = await rewriteAtReads(path, content, 3);
    // A tree is listed before the file is truncated.
    const onEvent: UploadTreeOptions["onEvent"] = ({ type }) => {
      if (type === "plan") Deno.truncateSync(path);
    };
    if (!call.endsWith("Tree")) Deno.truncateSync(path);
    const localPath = `${clientDir}/tree/x`;
    await {
      upload: () => upload(client, localPath, "/tree/x"),
      download: () => download(client, "/tree/x", localPath),
      remoteDigest: () => remoteDigest(client, "/tree/x"),
      uploadTree: () => uploadTree(client, `${clientDir}/tree`, "/tree/", { onEvent }),
      downloadTree: () => downloadTree(client, "/tree/", `${clientDir}/tree`, { onEvent }),
    }[call]();
    if (call !== "remoteDigest") assert(isSame(contentOf(`${target}/tree/x`), content));
  });
}

Deno.test("a file that changes after its list was read gets the time of its new content, in both directions", async () => {
  for (const direction of DIRECTIONS) {
    for (const size of [LARGE_BYTES, SMALL_BYTES]) {
      await using files = await serveWithChange("HEAD", () => {});
      const { sourceDir, targetDir } = makeCopy(direction, files);
      const source = `${sourceDir}/tree/x`;
      writeInPlace(source, randomBytes(size), FIRST_TIME);
      const changedContent = randomBytes(size);
      const onEvent: UploadTreeOptions["onEvent"] = ({ type }) => {
        if (type === "plan") writeInPlace(source, changedContent, SECOND_TIME);
      };
      const localDir = `${files.clientDir}/tree`;
      if (direction === "upload") await uploadTree(files.client, localDir, "/tree/", { onEvent });
      else await downloadTree(files.client, "/tree/", localDir, { onEvent });
      assert(isSame(contentOf(`${targetDir}/tree/x`), changedContent), `${direction} ${size}`);
      const { mtime } = await Deno.stat(`${targetDir}/tree/x`);
      assertEquals(mtime, SECOND_TIME, `${direction} ${size}`);
    }
  }
});

Deno.test("a file that changes before the first byte of a resumed upload is read rejects with CHANGED, and the next call sends it whole", async () => {
  let source = "";
  const changedContent = randomBytes(LARGE_BYTES);
  const firstPut = Promise.withResolvers<unknown>();
  let hasCut = false;
  let hasWritten = false;
  await using files = await serveFilesApp({ write: true }, async ({ method }, respond) => {
    const call = respond();
    if (method === "PUT") firstPut.resolve(call.catch(() => {}));
    const response = await call;
    if (method === "HEAD" && hasCut && !hasWritten) {
      hasWritten = true;
      assert(Number(response[2]["upload-offset"]) > 0, "nothing to resume");
      writeInPlace(source, changedContent, SECOND_TIME);
    }
    return response;
  });
  source = `${files.clientDir}/x`;
  writeInPlace(source, LARGE, FIRST_TIME);
  using _clock = setClockAhead(SETTLED_MILLISECONDS);
  await using relay = new CuttingRelay(files.serving.address);
  relay.cutAfter(1_000_000);
  const cutClient = new Client(relay.address, { timeout: 60 });
  await assertRejects(() => upload(cutClient, source, "/x"));
  // The server stores what it has received, also after the client has failed.
  await firstPut.promise;
  hasCut = true;
  const failure = await upload(files.client, source, "/x").catch((error) => error);
  assert(hasChanged(failure) && failure.message.includes(source), `${failure}`);
  await upload(files.client, source, "/x");
  assert(isSame(contentOf(`${files.serverDir}/x`), changedContent));
});

Deno.test("upload: if the source has changed, a 400 for its digest is reported as the change", async () => {
  await using files = await serveFilesApp({ write: true }, async ({ method }, respond) => {
    const response = await respond();
    if (method !== "PUT") return response;
    writeInPlace(source, LARGE, SECOND_TIME);
    return [400, "Bad Request", {}, null];
  });
  const source = `${files.clientDir}/x`;
  writeInPlace(source, LARGE, FIRST_TIME);
  const failure = await upload(files.client, source, "/x").catch((error) => error);
  assert(hasChanged(failure), `${failure}`);
});

Deno.test("uploadTree with settled: a file that changes after the list fails with CHANGED", async () => {
  for (const size of [LARGE_BYTES, SMALL_BYTES]) {
    await using files = await serveWithChange("HEAD", () => {});
    const source = `${files.clientDir}/tree/x`;
    writeInPlace(source, randomBytes(size), FIRST_TIME);
    const failures: unknown[] = [];
    const onEvent: UploadTreeOptions["onEvent"] = (event) => {
      if (event.type === "plan") writeInPlace(source, randomBytes(size), SECOND_TIME);
      if (event.type === "failed") failures.push(event.error);
    };
    const options = { settled: 60, partial: true, onEvent };
    await uploadTree(files.client, `${files.clientDir}/tree`, "/tree/", options);
    assertEquals(failures.map(hasChanged), [true], `${size}`);
    assertEquals(contentOf(`${files.serverDir}/tree/x`), "nothing");
  }
});

Deno.test("a served file that is overwritten before its body is sent is not received with its old time", async () => {
  for (const length of [SMALL_BYTES, LARGE_BYTES]) {
    for (const growth of [0, 1000, -1000]) {
      let served = "";
      let isChanged = false;
      const changedContent = randomBytes(length + growth);
      await using files = await serveFilesApp({}, async ({ method }, respond) => {
        const response = await respond();
        if (method === "GET" && !isChanged) {
          isChanged = true;
          writeInPlace(served, changedContent, SECOND_TIME);
        }
        return response;
      });
      served = `${files.serverDir}/x`;
      const firstContent = randomBytes(length);
      writeInPlace(served, firstContent, FIRST_TIME);
      const copy = `${files.clientDir}/x`;
      const failure = await download(files.client, "/x", copy).catch((error) => error);
      const context = `${length} ${growth}`;
      if (contentOf(copy) === "nothing") assert(failure instanceof Error, context);
      else {
        // The first content was read before the change.
        assertEquals((await Deno.stat(copy)).mtime, FIRST_TIME, context);
        assert(isSame(contentOf(copy), firstContent), context);
      }
      await download(files.client, "/x", copy);
      assert(isSame(contentOf(copy), changedContent), context);
      assertEquals((await Deno.stat(copy)).mtime, SECOND_TIME, context);
    }
  }
});

Deno.test("of a file that is overwritten in each attempt, a download says that it changes, and not that the connection is lost", async () => {
  let served = "";
  let seconds = 0;
  await using files = await serveFilesApp({ list: true }, async ({ method, uri }, respond) => {
    const response = await respond();
    // The first bytes of the body have been read. The file has no entity tag yet.
    if (method === "GET" && uri === "/tree/x") {
      writeInPlace(served, randomBytes(LARGE_BYTES), new Date(++seconds * 1000));
    }
    return response;
  });
  await Deno.mkdir(`${files.serverDir}/tree`);
  served = `${files.serverDir}/tree/x`;
  writeInPlace(served, LARGE, FIRST_TIME);
  for (const name of ["a", "z"]) await Deno.writeFile(`${files.serverDir}/tree/${name}`, LARGE);
  const failure = await download(files.client, "/tree/x", `${files.clientDir}/x`)
    .catch((error) => error);
  assert(hasChanged(failure), `${failure}`);
  assertEquals(contentOf(`${files.clientDir}/x`), "nothing");

  const events: unknown[] = [];
  const onEvent: UploadTreeOptions["onEvent"] = (event) => {
    if (event.type === "failed") events.push([event.path.join("/"), hasChanged(event.error)]);
    else if (event.type === "copied") events.push(event.path.join("/"));
    else if (event.type === "retry") events.push(`${event.error}`);
  };
  const options = { connections: 1, retries: 1, partial: true, onEvent };
  await downloadTree(files.client, "/tree/", `${files.clientDir}/tree`, options);
  assertEquals(events.toSorted(), ["a", "z", ["x", true]].toSorted());
  assertEquals(contentOf(`${files.clientDir}/tree/x`), "nothing");
});
