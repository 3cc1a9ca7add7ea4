/** Directories that FilesApp serves. */

import { realPath } from "@degu/internal/internal/paths.ts";
import { assertEquals } from "@std/assert";
import type { Address, Response } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import type { App } from "@degu/degu";
import type { ServerOptions } from "@degu/degu/server";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";

/** Serves a new directory, and connects to the server. */
export async function serveDirectory(makeApp = (dir: string): App => new FilesApp(dir)) {
  const dir = await createTempDir();
  const serving = serve(makeApp(dir.path));
  const conn = await serving.makeClient().connect();
  return {
    path: dir.path,
    conn,
    serving,
    write: (name: string, content: string | Uint8Array) =>
      Deno.writeFile(
        `${dir.path}/${name}`,
        typeof content === "string" ? encodeLatin1(content) : content,
      ),
    mkdir: (name: string) => Deno.mkdir(`${dir.path}/${name}`, { recursive: true }),
    [Symbol.asyncDispose]: async () => {
      conn.close();
      await serving[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
      assertEquals(serving.logger.messagesOf("error"), []);
    },
  };
}

/** Returns the status, the named headers and the text of a response. */
export async function summarize(response: Response, ...names: string[]) {
  const body = await response.body?.bytes();
  return [
    response.status,
    ...names.map((name) => {
      const value = response.headers[name];
      return typeof value === "object" ? String(value) : value;
    }),
    body === undefined ? null : decodeLatin1(body),
  ];
}

/** Makes bytes with a period of 251, a prime number, so that no two pieces are the same. */
export function makePattern(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < Math.min(length, 251); i++) bytes[i] = i;
  for (let filledLength = 251; filledLength < length; filledLength *= 2) {
    bytes.copyWithin(filledLength, 0, filledLength);
  }
  return bytes;
}

/** Creates a directory `root` to serve, and files beside it that must not be served. */
export async function makeTree() {
  const dir = await createTempDir();
  const path = await realPath(dir.path);
  for (const name of ["root/sub", "outside", "root-too"]) {
    await Deno.mkdir(`${path}/${name}`, { recursive: true });
  }
  await Deno.writeTextFile(`${path}/root/file`, "public");
  await Deno.writeTextFile(`${path}/root/sub/file`, "public");
  for (const name of ["outside/secret", "root-too/secret", "secret"]) {
    await Deno.writeTextFile(`${path}/${name}`, "secret");
  }
  return { path, root: `${path}/root`, [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose]() };
}

/** Targets of links by their paths below the root; `$` is the parent directory of the root. */
export const LINKS: Readonly<Record<string, string>> = {
  in: "file",
  "in-absolute": "$/root/sub/file",
  "in-dir": "sub",
  "sub/up": "../file",
  "out-and-in": "../root/file",
  self: ".",
  out: "../secret",
  "out-absolute": "$/secret",
  "out-dir": "../outside",
  "out-beside": "../root-too",
  "out-root": "/",
  parent: "..",
  device: "/dev/zero",
  proc: "/proc/self/environ",
  second: "out",
  loop: "loop",
  none: "nothing",
  "sub/index.html": "../../secret",
  part: `${RESERVED_DIRECTORY_NAME}/part`,
  parts: RESERVED_DIRECTORY_NAME,
  "deep-part": `sub/${RESERVED_DIRECTORY_NAME}/part`,
  download: "sub/.a.degu-part",
  ".b.degu-part": "file",
};

/** Creates entries that no peer may read or write: links, a socket, a FIFO, reserved names. */
export async function addTraps({ path, root }: { readonly path: string; readonly root: string }) {
  for (const dir of ["", "sub/"]) await Deno.mkdir(`${root}/${dir}${RESERVED_DIRECTORY_NAME}`);
  for (
    const name of [
      `${RESERVED_DIRECTORY_NAME}/part`,
      `sub/${RESERVED_DIRECTORY_NAME}/part`,
      "sub/.a.degu-part",
    ]
  ) {
    await Deno.writeTextFile(`${root}/${name}`, "secret");
  }
  const links = Object.entries(LINKS).map(([name, target]) => {
    return [`${root}/${name}`, target.replace("$", path)];
  });
  await makeLinks(Object.fromEntries(links));
  const listener = Deno.listen({ transport: "unix", path: `${root}/socket` });
  return {
    /** The names of the special files. */
    specialNames: await makeFifo(`${root}/fifo`) ? ["fifo", "socket"] : ["socket"],
    [Symbol.dispose]: () => listener.close(),
  };
}

/** The number of bytes in the file of {@linkcode serveLargeFile}. */
export const LARGE_FILE_BYTES = 4_000_000;

/** Serves a large file over TCP, or at a Unix socket, whose buffer doesn't grow. */
export async function serveLargeFile(
  options: ServerOptions = {},
  wrap = (app: FilesApp): App => app,
  isAtSocket = false,
) {
  const tree = await makeTree();
  await Deno.writeFile(`${tree.root}/large`, new Uint8Array(LARGE_FILE_BYTES).fill(1));
  const address: Address = isAtSocket ? `${tree.path}/socket` : ["127.0.0.1", 0];
  const serving = serve(wrap(new FilesApp(tree.root)), options, address);
  return {
    ...tree,
    serving,
    [Symbol.asyncDispose]: async () => {
      await serving[Symbol.asyncDispose]();
      await tree[Symbol.asyncDispose]();
    },
  };
}
