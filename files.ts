/**
 * The application that serves the files of a directory.
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

import mime from "npm:mime@^4.1.2";
import type { Api, AppObject } from "./base/app/app.ts";
import { makeEmptyResponse } from "./base/app/empty_response.ts";
import { typeName } from "./base/errors.ts";
import type { HeaderDict } from "./base/wire/headers.ts";
import type { Request, ResponseTuple } from "./base/app/message.ts";
import { isRange, type Range } from "./base/wire/range.ts";
import type { Session } from "./base/app/session.ts";
import {
  checkConditions,
  formatDate,
  isRangeWanted,
  makeValidators,
  type Validators,
} from "./files/conditions.ts";
import { makeFileBody } from "./files/file_body.ts";
import { openBelow, type OpenFile } from "./files/open_file.ts";

const INDEX = "index.html";
/** What RFC 9110 §8.3 has for bytes that nothing is known of; without it a browser would guess. */
const UNKNOWN_TYPE = "application/octet-stream";

/**
 * Serves the files below a directory to GET and HEAD. Needs `--allow-read` of the directory.
 *
 * A path that ends with a slash stands for the `index.html` of a directory; without the slash a
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

  /**
   * Serves a directory. Its path is resolved here, once; what happens in it later counts.
   *
   * @throws {TypeError} where it is not a string.
   * @throws {RangeError} where it is empty or has a NUL byte.
   * @throws {Deno.errors.NotFound} where it does not exist, `Deno.errors.NotADirectory` where it is
   * something else, `Deno.errors.NotCapable` without the permission to read it.
   */
  constructor(dir: string) {
    if (typeof dir !== "string") throw new TypeError(`dir: need a string; got ${typeName(dir)}`);
    if (dir === "" || dir.includes("\0")) {
      throw new RangeError("dir: need the path of a directory, without NUL bytes");
    }
    this.#root = realPathOf(dir);
    if (!Deno.statSync(this.#root).isDirectory) {
      throw new Deno.errors.NotADirectory(`dir: ${dir} is not a directory`);
    }
  }

  /** Answers with a file, or part of one, or says why not. */
  async handle(request: Request, _session?: Session, _api?: Api): Promise<ResponseTuple> {
    const { method, mount, path } = request;
    if (method !== "GET" && method !== "HEAD") {
      return makeEmptyResponse(method, 405, "Method Not Allowed", { allow: "GET, HEAD" });
    }
    // Mounted at /foo, a request for /foo has an empty path here.
    const last = path.at(-1) ?? mount.at(-1) ?? "";
    const endsWithSlash = last === "";
    const names = path.at(-1) === "" ? path.slice(0, -1) : [...path];
    if (endsWithSlash) names.push(INDEX);
    const found = await openBelow(this.#root, names);
    if (found === "directory" && !endsWithSlash) return redirect(request, last);
    if (found === null || found === "directory") {
      return makeEmptyResponse(method, 404, "Not Found");
    }
    return await answer(request, found, endsWithSlash ? INDEX : last);
  }
}

/** The same path with a slash, said relative to it, so that it holds behind a proxy, too. */
function redirect({ method, query }: Request, last: string): ResponseTuple {
  const location = `./${last}/${query === null ? "" : `?${query}`}`;
  return makeEmptyResponse(method, 301, "Moved Permanently", { location });
}

async function answer(request: Request, file: OpenFile, name: string): Promise<ResponseTuple> {
  let handedOver = false;
  try {
    const { method, headers } = request;
    const validators = makeValidators(file.state, file.lookedAt);
    const condition = checkConditions(headers, validators);
    if (condition === 412) return makeEmptyResponse(method, 412, "Precondition Failed");
    if (condition === 304) return [304, "Not Modified", validatorHeaders(validators), null];
    const range = wantedRange(request, validators);
    if (range !== null && range.start >= file.size) {
      return makeEmptyResponse(method, 416, "Range Not Satisfiable");
    }
    const answerHeaders = { "content-type": typeOf(name), ...validatorHeaders(validators) };
    if (method === "HEAD") {
      return [200, "OK", { ...answerHeaders, "content-length": file.size }, null];
    }
    handedOver = true;
    if (range === null) {
      return [200, "OK", answerHeaders, await makeFileBody(file, 0, file.size)];
    }
    const part = range.contentRange(file.size);
    const body = await makeFileBody(file, part.start, part.stop);
    return [206, "Partial Content", { ...answerHeaders, "content-range": part }, body];
  } finally {
    if (!handedOver) await file.handle.close();
  }
}

/** The range that counts; for another method than GET none does (RFC 9110 §14.2). */
function wantedRange({ method, headers }: Request, validators: Validators): Range | null {
  const { range } = headers;
  return method === "GET" && isRange(range) && isRangeWanted(headers, validators) ? range : null;
}

function validatorHeaders({ etag, lastModified }: Validators): HeaderDict {
  return {
    ...(etag === null ? {} : { etag }),
    ...(lastModified === null ? {} : { "last-modified": formatDate(lastModified) }),
  };
}

function typeOf(name: string): string {
  // With a slash, lest a file that is called "html" be taken for an extension.
  return mime.getType(`/${name}`) ?? UNKNOWN_TYPE;
}

/** The real path of a directory; errors name the argument. */
function realPathOf(dir: string): string {
  try {
    return Deno.realPathSync(dir);
  } catch (error) {
    if (error instanceof Error) error.message = `dir: ${error.message}`;
    throw error;
  }
}
