/** Requests to a server of files: their connections, and requests for digests and changes. */

import { type Address, addressText } from "../../../base/address.ts";
import type { Socket } from "../../../base/app/app.ts";
import type { Response } from "../../../base/app/message.ts";
import {
  bodies,
  type BodyIn,
  type BodyOut,
  cancelQuietly,
  cancelUnused,
} from "../../../base/body/bodies.ts";
import { EMPTY } from "../../../base/bytes.ts";
import { quote } from "../../../base/quote.ts";
import type { HeaderDict } from "../../../base/wire/headers.ts";
import type { Method } from "../../../base/wire/preamble.ts";
import { ConnectionPool, type Connector, type Requester } from "../../../client.ts";
import { anyConnection, connectorOf, repeatAny } from "../../../net/connection_pool.ts";
import { type RequestOptions, requestSignal } from "../../../net/request_signal.ts";
import { checkRequester, isConnector } from "../../../net/requester.ts";
import type { Retry } from "../../../net/retry.ts";
import { asRepeatable } from "../../../net/unanswered.ts";
import { conditionFor, NO_STAMP } from "../conditions.ts";
import { parseReprDigest, WANT_SHA256 } from "../digest.ts";
import { directoryUriOf, uriOf } from "../file_name.ts";
import { parseMode } from "../modes.ts";
import {
  changedWhileMoved,
  hasStatus,
  statusError,
  unexpectedResponse,
} from "../transfer_error.ts";

/** By client: the name under which all its servers are taken for one. */
const serverNames = new WeakMap<Requester | Connector, string>();

/**
 * From now on, the servers of clients with this name are taken for one, so that a part of a file is
 * continued from any of them: whether the whole file is what the server has is verified as always.
 */
export function takeServersForOne(client: Connector, name: string): void {
  serverNames.set(client, name);
}

/** By client: the permission bits that no file from its server gets. */
const withheldBits = new WeakMap<Requester | Connector, number>();

/** From now on, no file that comes from the server of this client gets these permission bits. */
export function withholdBits(client: Connector, bits: number): void {
  withheldBits.set(client, bits);
}

/** Called before a tree goes on after an error; `moved` starts the count of retries again. */
type OnTreeRetry = (retry: Retry, moved: () => void) => void;

/** By client or pool: the function that is called before the next attempt of a tree. */
const treeRetryListeners = new WeakMap<Requester | Connector, OnTreeRetry>();

/** From now on, trees over these connections call a function before they go on after an error. */
export function onTreeRetry(peer: Requester | Connector, onRetry: OnTreeRetry): void {
  treeRetryListeners.set(peer, onRetry);
}

export function treeRetryOf(peer: Requester | Connector): OnTreeRetry | undefined {
  return treeRetryListeners.get(peer);
}

/**
 * The client of a transfer. Its requests, one after the other, go over the caller's connection or
 * pool, or over a pool of its own, of one connection, if the caller gave a client.
 */
export class TransferClient implements Disposable {
  /** What the caller has given; of a pool, the client that it is for. */
  readonly #target: Requester | Connector;
  readonly #requester: Requester;
  /** `null` over a connection of the caller, which can't be replaced. */
  readonly #pool: ConnectionPool | null;
  readonly #isOwn: boolean;
  /** Aborts connecting and every request. */
  readonly signal: AbortSignal | undefined;
  readonly #isRepeatable: boolean;
  /**
   * Which permission bits a new file gets at the server, as its last answer that tells has said;
   * `null` without one: the server takes none, or has not been asked.
   */
  granted: number | null = null;
  /** The body of the last response. */
  #body: BodyIn = null;

  /**
   * Creates a client of what the caller has given; nothing is connected yet.
   *
   * @param label Names the target in errors.
   * @param options The signal aborts connecting and every request.
   * @param isRepeatable Whether a request that was perhaps acted on may be made again, as those of
   * uploads: to write the same file twice changes nothing.
   * @throws {TypeError} if the target is neither a client nor a connection, or an option has the
   * wrong type.
   */
  constructor(
    label: string,
    target: Requester | Connector,
    options?: RequestOptions,
    isRepeatable = true,
  ) {
    checkRequester(label, target);
    this.#target = connectorOf(target) ?? target;
    this.#isOwn = isConnector(target);
    this.#pool = isConnector(target)
      ? ownPool(target, isRepeatable)
      : target instanceof ConnectionPool
      ? target
      : null;
    this.#requester = this.#pool ?? target as Requester;
    this.signal = requestSignal(options);
    this.#isRepeatable = isRepeatable;
  }

  /** The permission bits that a file from the server gets here; `null` if they are not known. */
  bitsFor(mode: number | null): number | null {
    return mode === null ? null : mode & ~(withheldBits.get(this.#target) ?? 0);
  }

  /** True if a connection that was closed can be replaced by another. */
  get canReconnect(): boolean {
    return this.#pool !== null;
  }

  /** True while there is a usable connection, or a connection can be opened. */
  get isUsable(): boolean {
    return this.canReconnect || (this.#target as { closed?: boolean }).closed !== true;
  }

  /**
   * Identifies the server: by its authority, which vouches for the server at any address, or else
   * by its address; `null` if the socket has neither.
   */
  async peer(): Promise<string | null> {
    const name = serverNames.get(this.#target);
    if (name !== undefined) return `any ${name}`;
    const connection = this.#pool === null
      ? this.#target
      : await anyConnection(this.#pool, this.signal);
    const { sock } = connection as { sock?: Socket };
    const authority = sock?.peerCertificate?.authority;
    if (authority) return `authority ${authority.publicKey256}`;
    const { address } = this.#target as { address?: Address };
    if (address !== undefined) return `address ${addressText(address)}`;
    return sock?.remoteAddr === undefined ? null : `address ${JSON.stringify(sock.remoteAddr)}`;
  }

  /** Makes a request, after which any earlier response can't be read any more. */
  async request(
    method: Method,
    uri: string,
    headers: HeaderDict,
    body: BodyOut = null,
  ): Promise<Response> {
    this.#endBody();
    const { signal } = this;
    try {
      const response = await this.#requester.request(method, uri, headers, body, { signal });
      this.#body = response.body;
      this.granted = parseMode(response.headers["file-mode-mask"]) ?? this.granted;
      return response;
    } catch (error) {
      throw this.#isRepeatable ? asRepeatable(error) : error;
    }
  }

  /** Frees the connection of a pool, if the last response was not read to its end. */
  #endBody(): void {
    if (this.#pool !== null) cancelQuietly(this.#body, undefined);
    this.#body = null;
  }

  /** Closes its own pool; the connections of a caller's pool stay open for later requests. */
  [Symbol.dispose](): void {
    this.#endBody();
    if (this.#isOwn) this.#pool!.close();
  }
}

/** A pool for the requests of one transfer, of which there is one at a time. */
function ownPool(target: Connector, isRepeatable: boolean): ConnectionPool {
  const connect: Connector["connect"] = (given) => {
    // A client's own classes of bodies are not for transfers.
    const options = { ...given, bodies };
    return target.connect(options);
  };
  const pool = new ConnectionPool({ connect }, { max: 1 });
  if (isRepeatable) repeatAny(pool);
  return pool;
}

/**
 * Requests the SHA-256 of a file from a `FilesApp`, which hashes the file; nothing is transferred.
 *
 * @param from A client, which opens a connection for this, or a connection.
 * @param uri The names of the directories on the way to the file, and its own; or its URI.
 * @param options A signal that aborts the call.
 * @returns 64 lower-case hexadecimal digits.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {StatusError} if the server has no such file.
 * @throws {TransferError} if the server does not send its digest.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, remoteDigest } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a`, "abc");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir));
 * server.serveForever();
 * const sha256 = await remoteDigest(new Client(server.address), ["a"]);
 * assertEquals(sha256.slice(0, 16), "ba7816bf8f01cfea");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function remoteDigest(
  from: Requester | Connector,
  uri: string | readonly string[],
  options?: RequestOptions,
): Promise<string> {
  const path = uriOf(uri);
  using client = new TransferClient("from", from, options);
  return (await askDigest(client, path)).sha256;
}

/**
 * Requests the version of a file that a server has now, with its SHA-256.
 *
 * @param length How many of its first bytes are meant: it may have grown. A server that does not
 * tell their digest tells that of the whole file.
 */
export async function askDigest(
  client: TransferClient,
  uri: string,
  length: number | null = null,
): Promise<Version & { readonly sha256: string; readonly stamp: string | null }> {
  const meant = length === null ? {} : { "digest-length": `${length}` };
  const wanted = { "want-repr-digest": WANT_SHA256, ...meant };
  const response = await client.request("HEAD", uri, wanted);
  if (response.status !== 200) throw statusError("HEAD", uri, response);
  const { sha256, ...version } = versionOf("HEAD", uri, response);
  const { "file-stamp": text } = response.headers;
  const stamp = typeof text === "string" ? text : null;
  if (sha256 !== null) return { ...version, sha256, stamp };
  // A FilesApp has no digest of a file that is shorter by now, or changes while it is hashed.
  if (stamp !== null) throw changedWhileMoved(quote(uri));
  const problem =
    "the server does not report its SHA-256 (repr-digest, RFC 9530); it needs a FilesApp";
  throw unexpectedResponse("HEAD", uri, problem);
}

/**
 * Compares the beginning of a file of a server with one here; both ends hash at the same time.
 *
 * @param hashHere Resolves to the SHA-256 of the beginning here; `null` if that can't be read.
 * @returns The answer of the server, if the beginnings are the same; `null` also if the answer took
 * too long: then all of the file is moved.
 */
export async function askForSame(
  client: TransferClient,
  uri: string,
  length: number,
  hashHere: () => Promise<string | null>,
): Promise<Response | null> {
  const wanted = { "want-repr-digest": WANT_SHA256, "digest-length": `${length}` };
  // Nobody reads the file here any more once this has ended.
  const asking = client.request("HEAD", uri, wanted);
  const [asked, hashed] = await Promise.allSettled([asking, hashHere()]);
  if (hashed.status === "rejected") throw hashed.reason;
  if (asked.status === "rejected") {
    if (isTooSlow(client, asked.reason)) return null;
    throw asked.reason;
  }
  await asked.value.discard();
  const { status, headers } = asked.value;
  const isAsked = status === 200 && headers["digest-length"] === `${length}`;
  const sha256 = isAsked ? readDigest("HEAD", uri, asked.value) : null;
  return sha256 !== null && sha256 === hashed.value ? asked.value : null;
}

/**
 * Whether the reuse of bytes took longer than the client waits: on a slow disk each attempt would,
 * and without reuse the file moves all the time.
 */
export function isTooSlow(client: TransferClient, error: unknown): boolean {
  return error instanceof Deno.errors.TimedOut && client.canReconnect;
}

/**
 * Reads the SHA-256 of the whole file from a response; `null` if it has none.
 *
 * @throws {TransferError} if its `repr-digest` is not valid.
 */
export function readDigest(
  method: Method,
  uri: string,
  { headers }: Response,
): string | null {
  const { "repr-digest": digest } = headers;
  try {
    return typeof digest === "string" ? parseReprDigest(digest) : null;
  } catch (cause) {
    throw unexpectedResponse(method, uri, "the response has an invalid repr-digest", { cause });
  }
}

/** A version of a file on the server. */
export interface Version {
  /** The strong entity tag. */
  readonly etag: string | null;
  /** The SHA-256 of the whole file. */
  readonly sha256: string | null;
  /** The permission bits of the file, if the server says them. */
  readonly mode: number | null;
}

/** The version that a response is about. If the version is invalid, the body is canceled. */
export function versionOf(method: "GET" | "HEAD", uri: string, response: Response): Version {
  const { etag, "file-mode": mode } = response.headers;
  const isStrong = typeof etag === "string" && !etag.startsWith("W/");
  try {
    const sha256 = readDigest(method, uri, response);
    return { etag: isStrong ? etag : null, sha256, mode: parseMode(mode) };
  } catch (error) {
    cancelUnused(response.body, error);
    throw error;
  }
}

/**
 * Creates a directory and its missing parents on a `FilesApp` with `write: true`.
 *
 * @param to A client, which opens a connection for this, or a connection.
 * @param uri The names of the directories on the way to it, and its own, `[]` for the root; or its
 * URI, which ends with `/`.
 * @param options A signal that aborts the call.
 * @returns True if the directory was created; false if it existed already.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the path does not end with `/`.
 * @throws {StatusError} if the server does not create it.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, makeDirectory } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * server.serveForever();
 * const client = new Client(server.address);
 * assertEquals(await makeDirectory(client, ["a b", "c"]), true);
 * assertEquals(await makeDirectory(client, ["a b", "c"]), false);
 * assertEquals((await Deno.stat(`${dir}/a b/c`)).isDirectory, true);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function makeDirectory(
  to: Requester | Connector,
  uri: string | readonly string[],
  options?: RequestOptions,
): Promise<boolean> {
  const path = directoryUriOf(uri);
  using client = new TransferClient("to", to, options, false);
  return await requestChange(client, "PUT", path) === 201;
}

/**
 * Deletes a file or an empty directory on a `FilesApp` with `write: true`. A file that changes
 * after this call has asked for it stays.
 *
 * @param from A client, which opens a connection for this, or a connection.
 * @param uri The names of the directories on the way to it, and its own; or its URI. With a final
 * `""`, or `/`, only a directory is deleted.
 * @param options A signal that aborts the call.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {StatusError} if the server does not delete it: with the status 404 nothing has this
 * name, with 409 it is a directory that is not empty.
 * @throws the errors of `connect` and `request` of the client or connection.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { deleteFile, FilesApp } from "@degu/degu/files";
 * import { assertRejects } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
 * server.serveForever();
 * await deleteFile(new Client(server.address), ["a b.txt"]);
 * await assertRejects(() => Deno.stat(`${dir}/a b.txt`), Deno.errors.NotFound);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function deleteFile(
  from: Requester | Connector,
  uri: string | readonly string[],
  options?: RequestOptions,
): Promise<void> {
  const path = uriOf(uri);
  using client = new TransferClient("from", from, options, false);
  if (path.endsWith("/")) return void await requestChange(client, "DELETE", path);
  const there = await client.request("HEAD", path, {});
  await there.discard();
  if (!client.isUsable) throw statusError("DELETE", path, there, "delete");
  try {
    // Only a directory that is empty is deleted, which needs no other condition.
    if (there.status === 301) await requestChange(client, "DELETE", `${path}/`);
    else await requestChange(client, "DELETE", path, conditionAfter(there));
  } catch (error) {
    // The answer to a request before may have been lost.
    const isGone = hasStatus(error, 404);
    if (there.status !== 200 || !isGone) throw error;
  }
}

/** The condition that a file is still the one of an answer to HEAD, or still not there. */
function conditionAfter({ status, headers }: Response): HeaderDict {
  const { "file-stamp": stamp, etag } = headers;
  if (status === 404) return { "if-file-stamp": NO_STAMP };
  // A server of an older version says nothing of it.
  return status === 200 && typeof stamp === "string" ? conditionFor(stamp, etag) : {};
}

/**
 * Makes a directory, or deletes something.
 *
 * @returns The status, which is always a success.
 */
export async function requestChange(
  client: TransferClient,
  method: "PUT" | "DELETE",
  uri: string,
  headers: HeaderDict = {},
): Promise<number> {
  const response = await client.request(method, uri, headers, method === "PUT" ? EMPTY : null);
  await response.discard();
  const { status } = response;
  if (status === 201 || status === 204) return status;
  throw statusError(method, uri, response, method === "PUT" ? "make" : "delete");
}
