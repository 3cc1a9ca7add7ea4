/**
 * Opening files for peers: files that are never served, file descriptors, and memory use. Files and
 * names on a disk.
 */
import type { App } from "@degu/degu";
import { formatErrorResponse } from "../../tests/net/server/error_answers.ts";
import type { HeadersToSend, Method } from "@degu/degu/base";
import type { Client } from "@degu/degu/client";
import { FilesApp, listDirectory, StatusError } from "@degu/degu/files";
import { Request, type ResponseTuple, type ServerOptions } from "@degu/degu/server";
import { RequestContext } from "@degu/internal/base/app/message.ts";
import {
  DIGEST_RESPONSE,
  formatPaths,
  GET_RESPONSE,
  type GetRecord,
} from "@degu/internal/files/wire/bundle.ts";
import { toReadRefusal } from "@degu/internal/files/serve/resolve_path.ts";
import { Root } from "@degu/internal/files/root.ts";
import { readRecords } from "./bundles.ts";
import { runProgram, runScript } from "@degu/testing/processes.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { addTraps, LARGE_FILE_BYTES, LINKS, makeTree, serveLargeFile } from "./served_directory.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  listOpenFiles,
  makeFifo,
  makeLinks,
  waitForNoOpenFiles,
} from "@degu/testing/special_files.ts";
import { decodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { lockFile } from "@degu/internal/files/disk/files.ts";
import {
  renameNoReplace,
  syncAllIfPossible,
  syncIfPossible,
} from "@degu/internal/files/disk/names.ts";
import { TemporaryFile } from "@degu/internal/files/disk/temporary.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { createTempDir, listNames, readMode } from "@degu/testing/directories.ts";
import { mkreq } from "@degu/degu/misc";
import { patch } from "@degu/testing/patching.ts";
import { open } from "node:fs/promises";
import { join } from "@degu/internal/internal/paths.ts";

// FilesApp: entries that are never served, whatever the request and the directory.

const SERVED: readonly string[] = ["file", "sub/file"];

/** Paths that are never served; a path in an array has slashes within its names. */
const NOT_SERVED: readonly (string | readonly string[])[] = [
  // Links, even to a file in the root.
  ...["in", "in-absolute", "in-dir/file", "sub/up", "out-and-in", "in-dir/", "self/"],
  ...["self/file", "self/self/sub/file"],
  // Paths out of the root, by name or by link.
  ...["../secret", "sub/../../secret", "../root/file", "../outside/secret", "/etc/hostname"],
  ...["out", "out-absolute", "out-dir", "out-dir/", "out-dir/secret", "out-beside/secret"],
  ...["out-root/etc/passwd", "parent/secret", "parent/root/../secret", "second", "sub/"],
  ...["device", "proc"],
  // Components that aren't valid names, although the path would lead to an entry.
  ...[".", "..", "../", "./", "./file", "sub/./file", "sub/../file", "", "/file", "sub//file"],
  ...["file\0", "file\0.html", "\0", "a\0", "n".repeat(256), `${"n/".repeat(3000)}a`],
  ...["%2e%2e/secret", "%2E%2E%2Fsecret", "..%2fsecret", "..\\secret", "f\u0131le", "file\n"],
  ...["../secret", "sub/../../secret", "sub/file", "/etc/hostname"].map((name) => [name]),
  // Reserved names, also through links.
  ...[".degu-files", ".DEGU-FILES", "self/.degu-files", "parts"].flatMap((dir) => {
    return [dir, `${dir}/`, `${dir}/part`];
  }),
  ...["part", "deep-part", "sub/.a.degu-part", "in-dir/.a.degu-part", "download", ".b.degu-part"],
  // Missing entries, and entries that aren't files.
  ...["none", "none/none", "sub/none", "file/none", "file/", "loop", "loop/a"],
];

Deno.test("no name or link leads out of the root or to a reserved name, and no link is followed", async (t) => {
  await using tree = await makeTree();
  using traps = await addTraps(tree);
  const { root } = tree;
  const { specialNames } = traps;
  const app = new FilesApp(root, { list: true });
  await using serving = serve(app);
  const client = serving.makeClient();

  const paths = [...SERVED, ...NOT_SERVED, [`${root}/file`], ...specialNames].map((path) => {
    return typeof path === "string" ? path.split("/") : path;
  });
  const formatResult = (path: readonly string[], status: number) =>
    `${Deno.inspect(path)} ${status}`;
  const expected = paths.map((path, i) => formatResult(path, i < SERVED.length ? 200 : 404));
  await t.step("by GET", async () => {
    const plainApp = new FilesApp(root);
    for (const [i, path] of paths.entries()) {
      // Only routers make components that no client can send.
      const request = new Request(new RequestContext(), "GET", "/", {}, null, [], [...path], null);
      assertEquals(formatResult(path, (await plainApp.handle(request))[0]), expected[i]);
    }
  });
  for (const [kind, format] of [["get", GET_RESPONSE], ["digest", DIGEST_RESPONSE]] as const) {
    await t.step(`in a bundle: ${kind}`, async () => {
      const response = await client.request("POST", `/?bundle=${kind}`, {}, formatPaths(paths));
      const records = await readRecords<GetRecord>(format, response);
      const results = records.map(({ record: { path, status } }) => formatResult(path, status));
      assertEquals(results, expected);
      for (const { content } of records) assert(["", "public"].includes(decodeLatin1(content)));
    });
  }
  await t.step("in lists, with the reason why an entry is not served", async () => {
    const listLines = async (uri: string) => {
      const entries = await Array.fromAsync(listDirectory(client, uri));
      const lines = entries.map(({ name, kind, size, reason }) => [name, reason ?? kind, size]);
      return lines.map((line) => line.join(" ")).toSorted();
    };
    const topNames = Object.keys(LINKS).filter((name) =>
      !name.includes("/") && !name.startsWith(".")
    );
    const expectedLines = [
      ...["file file 6", "sub directory 0"],
      ...topNames.map((name) => `${name} link 0`),
      ...specialNames.map((name) => `${name} special 0`),
    ];
    assertEquals(await listLines("/"), expectedLines.toSorted());
    assertEquals(await listLines("/sub/"), ["file file 6", "index.html link 0", "up link 0"]);
    for (const uri of ["/in-dir/", "/self/", "/self/sub/", "/out-dir/"]) {
      await assertRejects(() => listLines(uri), StatusError, "404", uri);
    }
  });
});

Deno.test("FilesApp needs --allow-read only for its directory, and stays inside it on its own", async () => {
  await using tree = await makeTree();
  const { path, root } = tree;
  await makeLinks({
    [`${root}/in`]: "file",
    [`${root}/out`]: "../secret",
    [`${root}/out-dir`]: "../outside",
  });
  const script = `
    import { FilesApp } from "@degu/degu/files";
    import { mkreq } from "./misc.ts";
    const app = new FilesApp(${JSON.stringify(root)});
    for (const name of ["file", "in", "out", "out-dir/secret", "none"]) {
      const [status] = await app.handle(mkreq("GET", "/" + name));
      console.log(name, status);
    }
    // What the permission is for, as Deno sees it.
    console.log(await Deno.readTextFile(${JSON.stringify(`${root}/out`)}));
    try {
      new FilesApp(${JSON.stringify(path)});
    } catch (error) {
      console.log(error.name);
    }
  `;
  const expected = "file 200\nin 404\nout 404\nout-dir/secret 404\nnone 404\nsecret\nNotCapable\n";
  assertEquals(await runScript(script, [`--allow-read=${root}`], {}), expected);
});

Deno.test({
  name: "the flags for reading, whose numbers differ by processor, don't open a link",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using tree = await makeTree();
    await makeLinks({ [`${tree.root}/in`]: "file" });
    // Without --allow-all, Deno resolves the link before it opens the file.
    const script = `
      import { closeSync, openSync } from "node:fs";
      import { READ_FLAGS } from "./files/disk/file_pieces.ts";
      for (const name of ["file", "in"]) {
        try {
          closeSync(openSync(${JSON.stringify(tree.root)} + "/" + name, READ_FLAGS));
          console.log(name);
        } catch (error) {
          console.log(name, error.code);
        }
      }
    `;
    assertEquals(await runScript(script, ["--allow-all"], {}), "file\nin ELOOP\n");
  },
});

Deno.test("an unreadable file gets 403 below the root, and 404 through a link", async () => {
  await using tree = await makeTree();
  using _traps = await addTraps(tree);
  const root = new Root(tree.root);
  const accessError = Object.assign(new Error("closed"), { code: "EACCES" });
  const statusOf = (path: string) => toReadRefusal(root, accessError, path.split("/")).status;
  for (const path of ["file", "sub/file"]) assertEquals(statusOf(path), 403);
  const links = ["in", "in-dir/file", "out", "out-dir/secret", "none", "loop"];
  for (const path of links) assertEquals(statusOf(path), 404);
  const descriptorError = Object.assign(new Error("too many files are open"), { code: "EMFILE" });
  assertThrows(() => toReadRefusal(root, descriptorError, ["file"]), Error, "too many");
});

// FilesApp: no leaked file descriptors, and little memory.

const linux = Deno.build.os === "linux";

const GET_LINE = "GET /large HTTP/1.1\r\n";
const GET = `${GET_LINE}\r\n`;

/** Reads a file, and checks how many bytes it has. */
async function readFile(client: Client, headers: HeadersToSend, bytes: number): Promise<void> {
  const { body } = await client.request("GET", "/large", headers);
  assertEquals((await body?.bytes())?.length, bytes);
}

/** Sends a request, and reads no more than the preamble of the response. */
async function sendRequest(peer: RawPeer, text: string): Promise<void> {
  await peer.send(text);
  await peer.readPreamble();
}

/** Sends a request, and makes its response fail. */
async function fail(peer: RawPeer): Promise<void> {
  await peer.send(GET);
  assertEquals((await peer.readToEnd()).received, formatErrorResponse(500));
}

/** How a peer, or an app around FilesApp, may end a response. */
const RESPONSE_ENDS: readonly [
  label: string,
  leave: (peer: RawPeer, client: Client) => Promise<unknown>,
  options?: ServerOptions,
  wrap?: (app: FilesApp) => App,
][] = [
  ["that reads everything", (_, client) => readFile(client, {}, LARGE_FILE_BYTES)],
  [
    "that requests a range beyond the end",
    (peer) => sendRequest(peer, `${GET_LINE}range: bytes=5000000-6000000\r\n\r\n`),
  ],
  ["that leaves before the response", (peer) => peer.send(GET)],
  ["that leaves during the response", (peer) => sendRequest(peer, GET)],
  ["that doesn't read the response", async (peer) => {
    await sendRequest(peer, GET.repeat(10));
    // No sleep: the server closes the connection after its time-out, and then this call fails.
    await peer.sendUntilRefused(new TextEncoder().encode("x"), Infinity);
  }, { timeout: 0.1 }],
  ["whose response is broken by another app", fail, {}, (app) => async (request) => {
    const [status, reason, headers, body] = await app.handle(request);
    return [status, reason, { ...headers, "Bad Header": "x" }, body];
  }],
  [
    "whose response gets a status without a body",
    fail,
    {},
    (app) => async (request): Promise<ResponseTuple> => {
      const [, , , body] = await app.handle(request);
      return [204, "No Content", {}, body];
    },
  ],
];

for (const [label, endResponse, options, wrap] of RESPONSE_ENDS) {
  Deno.test({
    name: `no file stays open after a peer ${label}`,
    ignore: !linux,
    async fn() {
      await using large = await serveLargeFile(options, wrap, true);
      {
        using peer = await RawPeer.connect(large.serving.address);
        await endResponse(peer, large.serving.makeClient());
      }
      // The server logs the end of a connection last. A pending read of the file ends by itself.
      await large.serving.server.shutdown();
      await waitForNoOpenFiles(large.root);
    },
  });
}

Deno.test("a request looks up a directory only after an asynchronous lookup, in which it alone waits for a disk", async () => {
  const rows: readonly [Method, uri: string][] = [
    ["GET", "/sub/"],
    ["GET", "/sub/file"],
    ["PUT", "/sub/new"],
    ["DELETE", "/sub/file"],
    ["DELETE", "/sub/"],
    ["DELETE", "/sub"],
  ];
  for (const [method, uri] of rows) {
    await using tree = await makeTree();
    const app = new FilesApp(tree.root, { write: true, list: true });
    let hasAnswered = false;
    using _lstat = patch(Deno, "lstat", (lstat) => async (path) => {
      const info = await lstat(path);
      if (`${path}`.startsWith(`${tree.root}/sub`)) hasAnswered = true;
      return info;
    });
    const early: unknown[] = [];
    using _lstatSync = patch(Deno, "lstatSync", (lstatSync) => (path) => {
      if (!hasAnswered && `${path}`.startsWith(`${tree.root}/sub`)) early.push(path);
      return lstatSync(path);
    });
    await app.handle(mkreq(method, uri, {}, method === "PUT" ? "x" : null));
    assertEquals([hasAnswered, early], [true, []], `${method} ${uri}`);
  }
});

Deno.test("a file that has content, although its size is 0, is refused and closed", async () => {
  await using tree = await makeTree();
  await Deno.writeTextFile(`${tree.root}/file`, "");
  const handle = await open(`${tree.root}/file`);
  await handle.close();
  const found = { bytesRead: 1, buffer: new Uint8Array(1) };
  using _read = patch(Object.getPrototypeOf(handle), "read", () => () => Promise.resolve(found));
  const [status] = await new FilesApp(tree.root).handle(mkreq("GET", "/file"));
  assertEquals(status, 403);
  if (linux) assertEquals(await listOpenFiles(tree.root), []);
});

Deno.test({
  name: "a file is closed when its response is garbage-collected",
  ignore: !linux,
  async fn() {
    await using large = await serveLargeFile();
    const script = `
      import { FilesApp } from "@degu/degu/files";
      import { mkreq } from "./misc.ts";
      const app = new FilesApp(${JSON.stringify(large.root)});
      const countFiles = () => {
        const links = Array.from(Deno.readDirSync("/proc/self/fd"), ({ name }) => {
          try {
            return Deno.readLinkSync("/proc/self/fd/" + name);
          } catch {
            return "";
          }
        });
        return links.filter((path) => path.startsWith(${JSON.stringify(large.root)} + "/")).length;
      };
      await app.handle(mkreq("GET", "/large"));
      console.log(countFiles());
      for (let turn = 0; turn < 100 && countFiles() > 0; turn++) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      console.log(countFiles());
    `;
    assertEquals(await runScript(script, ["-A", "--v8-flags=--expose-gc"], {}), "1\n0\n");
  },
});

Deno.test("a large file is streamed with little memory", async () => {
  const size = 128 * 1048576;
  await using large = await serveLargeFile();
  await Deno.truncate(`${large.root}/large`, size);
  const flags = ["--allow-net=127.0.0.1", "--allow-read"];
  const printed = await runProgram("large_file.ts", { flags, args: [large.root] });
  const { received, most: maxGrowth } = JSON.parse(printed);
  assertEquals(received, size);
  assert(maxGrowth < 64 * 1048576, `resident memory grew by ${maxGrowth} bytes`);
});

// Files and names on a disk.

// The contents of files on the disk.

Deno.test("a file can be locked once, and again if the first lock is released soon", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  const open = () => Deno.open(path, { write: true, create: true });
  const first = await open();
  using second = await open();
  assertEquals(await lockFile(first), true);
  {
    using timeouts = speedUpTimeouts((milliseconds) => milliseconds === 30);
    assertEquals(await lockFile(second), false);
    assertEquals(timeouts.started, Array(19).fill(30));
  }
  const waiting = lockFile(second);
  first.close();
  assertEquals(await waiting, true);
});

Deno.test("a temporary file is locked only if it is still at its path, and is no link or hard link", async () => {
  await using dir = await createTempDir();
  const [path, otherPath] = [join(dir.path, "part"), join(dir.path, "other")];
  const open = async (isNew: boolean, content: string, lock = lockFile) => {
    using opened = await TemporaryFile.open(path, lock);
    const { file, isKept } = opened!;
    const state = [isKept, opened!.isAtPath(), await Deno.readTextFile(path)];
    assertEquals(state, [!isNew, true, content]);
    opened!.isKept = true;
    await file.write(new TextEncoder().encode("content"));
    if (Deno.build.os !== "windows") assertEquals(await readMode(path), 0o600);
  };
  await open(true, "");
  await open(false, "content");
  await Deno.link(path, otherPath);
  await open(true, "");
  await Deno.remove(path);
  await makeLinks({ [path]: "other" });
  await open(true, "");
  assertEquals(await Deno.readTextFile(otherPath), "content");
  // The holder of the lock renames the file while another process waits for the lock.
  let lockAttempts = 0;
  await open(true, "", async () => {
    if (lockAttempts++ === 0) await Deno.rename(path, join(dir.path, "complete"));
    return true;
  });
  assertEquals(lockAttempts, 2);
  // The file is removed between lstat() and open().
  using patched = patch(Deno, "openSync", (open) => (...args) => {
    patched[Symbol.dispose]();
    Deno.removeSync(path);
    return open(...args);
  });
  await open(true, "");
  using lockedFile = await Deno.open(path, { write: true });
  await lockedFile.lock(true);
  const refuse = async (file: Deno.FsFile) => {
    if (await lockFile(file)) return true;
    throw new Error("locked");
  };
  {
    using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 30);
    await assertRejects(() => TemporaryFile.open(path, refuse), Error, "locked");
  }
  let tries = 0;
  assertEquals(await TemporaryFile.open(path, () => Promise.resolve(++tries < 0)), null);
  assertEquals(tries, 20);
  assertEquals(await listNames(dir.path), ["complete", "other", "part"]);
});

// Names on the disk.

Deno.test("directories are synced and closed; a missing or replaced directory is ignored", async () => {
  await using dir = await createTempDir();
  const paths = Array.from({ length: 100 }, (_, i) => join(dir.path, `${i}`));
  await Deno.writeTextFile(`${dir.path}/file`, "");
  const replaced = ["file", "file/below"];
  // Opening a FIFO must not wait.
  if (await makeFifo(`${dir.path}/fifo`)) replaced.push("fifo");
  for (const name of ["", "none", ...replaced]) await syncIfPossible(`${dir.path}/${name}`);
  await syncAllIfPossible(paths);
  await syncAllIfPossible([]);
  if (Deno.build.os === "linux") assertEquals(await listOpenFiles(dir.path), []);
});

for (const code of ["EPERM", "EINVAL", "EROFS", "EBADF", "ENOTSUP", "EIO"]) {
  const isIgnored = code !== "EIO";
  Deno.test(`a directory whose sync fails with ${code} is ${isIgnored ? "ignored" : "an error with its path"}`, async () => {
    if (Deno.build.os === "windows") return;
    await using dir = await createTempDir();
    await using handle = await open(dir.path);
    const fail = () => Promise.reject(Object.assign(new Error("refused"), { code }));
    using _failing = patch(Object.getPrototypeOf(handle), "sync", () => fail);
    const synced = syncIfPossible(dir.path);
    if (isIgnored) await synced;
    else await assertRejects(() => synced, Error, `refused: fsync '${dir.path}'`);
  });
}

Deno.test("renameNoReplace renames only the first of several files to a name, with and without hard links", async () => {
  await using dir = await createTempDir();
  const path = (name: string) => join(dir.path, name);
  const refuse = () => {
    throw new Deno.errors.PermissionDenied("EPERM: no hard links");
  };
  for (const link of [Deno.linkSync, refuse]) {
    await Deno.writeTextFile(path("a"), "a");
    await Deno.writeTextFile(path("b"), "b");
    using _patched = patch(Deno, "linkSync", () => link);
    const results = ["a", "b"].map((name) => renameNoReplace(path(name), path("new")));
    assertEquals(results, [true, false]);
    assertEquals(await listNames(dir.path), ["b", "new"]);
    assertEquals(await Deno.readTextFile(path("new")), "a");
    await Deno.remove(path("new"));
  }
  for (const newName of ["b", "c"]) {
    const renaming = () => Promise.try(() => renameNoReplace(path("none"), path(newName)));
    await assertRejects(renaming, Deno.errors.NotFound);
  }
});
