/**
 * The application that serves the files of a directory, and takes new ones.
 *
 * @example
 * ```ts
 * import { Client } from "@degu/degu/client";
 * import { FilesApp } from "@degu/degu/files";
 * import { Server } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * const directory = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${directory}/hello.txt`, "hello, world");
 *
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(directory));
 * server.serveForever();
 * const response = await new Client(server.address).request("GET", "/hello.txt");
 * assertEquals(response.headers["content-type"], "text/plain");
 * assertEquals(await response.body?.text(), "hello, world");
 * await Deno.remove(directory, { recursive: true });
 * ```
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { Api, AppObject } from "./base/app.ts";
import { typeName } from "./base/errors.ts";
import type { Request, ResponseTuple } from "./base/message.ts";
import { copyOptions } from "./base/options.ts";

import type { Session } from "./base/session.ts";
import { get } from "./files/get.ts";
import { Refusal } from "./files/refusal.ts";
import { readTarget } from "./files/target.ts";

/** What a {@linkcode FilesApp} does beyond answering to GET and HEAD with files. */
export interface FilesOptions {
  /**
   * Whether a path that ends with a slash is answered with a JSON array of what is in the directory.
   *
   * @default {false}
   */
  list?: boolean | undefined;
}

const OPTIONS = ["list"];

/**
 * Serves the files below a directory to GET and HEAD. Needs `--allow-read` of the directory.
 *
 * Each component of a path is the name of a file or directory, escaped as `escapeName` of
 * `@degu/degu/transfer` does.
 *
 * A path that ends with a slash means the `index.html` of a directory; without the slash a
 * directory is answered with a redirect to it. Files have `content-type` and, once they have not
 * changed for two seconds, `last-modified` and a strong `etag`; a single range and conditional
 * requests (RFC 9110 §13, §14) are answered as they are meant. Everything else is `404 Not Found`:
 * what does not exist, can't be read, is no regular file, or is reached by a symbolic link that leads
 * out of the directory.
 *
 * A file is read in pieces while it is sent, and closed whatever the peer does. One that is
 * overwritten in place meanwhile is not sent to its end.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const directory = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${directory}/digits.txt`, "0123456789");
 *
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(directory));
 * server.serveForever();
 * using conn = await new Client(server.address).connect();
 * const response = await conn.getRange("/digits.txt", {}, 2, 5);
 * assertEquals(response.status, 206);
 * assertEquals(String(response.headers["content-range"]), "bytes 2-4/10");
 * assertEquals(await response.body?.text(), "234");
 * await Deno.remove(directory, { recursive: true });
 * ```
 */
export class FilesApp implements AppObject {
  readonly #root: string;
  readonly #list: boolean;

  /**
   * Serves a directory. Its path is resolved here, once; what happens in it later counts.
   *
   * @throws {TypeError} if it is neither a string nor a URL, or an option is unknown or of a wrong type.
   * @throws {RangeError} if it is empty, has a NUL byte, or is not a `file:` URL; on Windows if `list` is true.
   * @throws {Deno.errors.NotFound} if it does not exist, `Deno.errors.NotADirectory` if it is
   * something else, `Deno.errors.NotCapable` without the permission to read it.
   */
  constructor(dir: string | URL, options: FilesOptions = {}) {
    const { list = false } = checkOptions(options);
    this.#root = realPathOf(pathOf(dir));
    this.#list = list;
  }

  /** Answers with a file, or part of one, or says why not. */
  async handle(request: Request, _session?: Session, _api?: Api): Promise<ResponseTuple> {
    try {
      return await this.#answer(request);
    } catch (error) {
      if (error instanceof Refusal) return error.answer(request);
      throw error;
    }
  }

  async #answer(request: Request): Promise<ResponseTuple> {
    const { method } = request;
    if (method !== "GET" && method !== "HEAD") {
      throw new Refusal(405, "the app is read-only", { allow: "GET, HEAD" });
    }
    const target = readTarget(request);
    if (target === null) throw new Refusal(404, "a component of the path is not a name");
    return await get(request, this.#root, target, this.#list);
  }
}

function checkOptions(options: FilesOptions): FilesOptions {
  const copy = copyOptions(options, OPTIONS);
  for (const name of ["list"] as const) {
    const value = copy[name];
    if (value !== undefined && typeof value !== "boolean") {
      throw new TypeError(`${name}: must be a boolean; got ${typeName(value)}`);
    }
    if (value && Deno.build.os === "windows") {
      throw new RangeError(`${name}: does not work on Windows; leave it out`);
    }
  }
  return copy;
}

/** The path that a directory is given by. */
function pathOf(dir: string | URL): string {
  if (typeof dir !== "string" && !(dir instanceof URL)) {
    throw new TypeError(`dir: must be a string or a URL; got ${typeName(dir)}`);
  }
  if (dir instanceof URL && dir.protocol !== "file:") {
    throw new RangeError(`dir: must be a file: URL; got one of ${dir.protocol}`);
  }
  const path = typeof dir === "string" ? dir : fileURLToPath(dir);
  if (path === "" || path.includes("\0")) {
    throw new RangeError("dir: must be the path of a directory, without NUL bytes");
  }
  return path;
}

/** The real path of a directory; errors name the argument. */
function realPathOf(dir: string): string {
  try {
    const real = Deno.realPathSync(dir);
    if (Deno.statSync(real).isDirectory) return real;
  } catch (error) {
    if (error instanceof Error) error.message = `dir: ${error.message}`;
    throw error;
  }
  throw new Deno.errors.NotADirectory(`dir: ${dir} is not a directory`);
}
