/**
 * Uploads trees to another device.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, lstatSync, openSync, type Stats } from "node:fs";
import { ChunkedBodyIter } from "../base/body/body_iter.ts";
import { EMPTY } from "../base/bytes.ts";
import { quote } from "../base/errors.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Chunk } from "../base/wire/chunk.ts";
import { Turns } from "../disk/turns.ts";
import type { Client, Connection } from "../client.ts";
import { BUNDLE_END, BUNDLED_BELOW_BYTES, formatRecord, PUT_ANSWER } from "./bundle.ts";
import { digestTree } from "./entries.ts";
import { fileUri } from "./file_name.ts";
import { readWhole } from "./file_pieces.ts";
import { readRemoteNames, readRemoteTree } from "./list_tree.ts";
import { isRealFile, readLocalTree, realPathOf } from "./local_tree.ts";
import type { TransferResult } from "./options.ts";
import { prefixOf } from "./reserved.ts";
import type { Route } from "./route.ts";
import {
  changedWhileMoved,
  statusError,
  TransferError,
  unexpectedResponse,
} from "./transfer_error.ts";
import {
  type Copy,
  existsAlready,
  type Obstacle,
  TreeNode,
  type TreeOptions,
  type TreeResult,
} from "./tree.ts";
import {
  compareContents,
  type Direction,
  type Outcome,
  requestBundle,
  transferTree,
  type TreeSettings,
} from "./tree_transfer.ts";
import { uploadFile } from "./upload.ts";

/**
 * Makes a directory that a `FilesApp` with `write: true` and `list: true` serves like one of this device: one attempt. After
 * any error, or interruption, call it again to continue: what is complete is unchanged then.
 *
 * Both ends are listed and compared; what differs is copied over several connections, small files many in a request. Each
 * file is verified and synced to the disk there before it gets its name, as with {@linkcode upload}, and gets the time of
 * the source. With `delete`, what the source does not have is deleted at the end, if everything here could be read and
 * every file was copied.
 *
 * What is so for one file fails alone, as an event and in `failed` of the result: it can't be read, changes all the
 * time, or something is in its way. Symbolic links, special files and parts of interrupted transfers are skipped; `dir`
 * itself may be a link.
 *
 * Needs `--allow-read` of the directory, and what the client needs.
 *
 * @param to Where the files go.
 * @param dir The path of the directory of this device.
 * @param uri The URI of the directory, as `fileUri` returns it for a final `""`; it ends with `/`, and is made if it is
 * missing. What is in one is then in the other.
 * @param options What to copy and delete, and what to call.
 * @returns What was done.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the URI does not end with `/`.
 * @throws {TransferError} if the server accepts no files there, its list is not valid or was cut, or its disk is full.
 * @throws {Deno.errors.NotFound} if there is no such directory here; `Deno.errors.NotADirectory` if it is something else.
 * @throws what `filter` or `onEvent` throws; the reason of the signal; the errors of `connect` and `request`.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, uploadTree } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const there = await Deno.makeTempDir();
 * const here = await Deno.makeTempDir();
 * await Deno.mkdir(`${here}/sub`);
 * await Deno.writeTextFile(`${here}/sub/a b.txt`, "hello");
 * const app = new FilesApp(there, { list: true, write: true });
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const client = new Client(server.address);
 *
 * const { files, bytes } = await uploadTree(client, here, "/copy/");
 * assertEquals([files, bytes], [1, 5]);
 * assertEquals(await Deno.readTextFile(`${there}/copy/sub/a b.txt`), "hello");
 * assertEquals((await uploadTree(client, here, "/copy/")).unchanged, 1);
 * await Deno.remove(there, { recursive: true });
 * await Deno.remove(here, { recursive: true });
 * ```
 */
export async function uploadTree(
  to: Client | Connection,
  dir: string,
  uri: string,
  options: TreeOptions = {},
): Promise<TreeResult> {
  return await transferTree("to", to, dir, uri, options, (settings) => {
    return new Upload(dir, uri, settings);
  });
}

/** About how many bytes are sent in a chunk. */
const CHUNK_BYTES = 262144;

const encoder = new TextEncoder();

/** A small file in a request. */
interface Sent {
  readonly copy: Copy;
  readonly bytes: number;
  readonly sha256: string | null;
}

class Upload implements Direction {
  readonly #dir: string;
  readonly #uri: string;
  readonly #settings: TreeSettings;
  readonly #turns = new Turns();
  /** The real path of the source. */
  #root = "";
  #isMissing = false;
  /** The refusal of the root, until something was accepted below it. */
  #refusal: TransferError | null = null;

  constructor(dir: string, uri: string, settings: TreeSettings) {
    this.#dir = dir;
    this.#uri = uri;
    this.#settings = settings;
  }

  async readSource(): Promise<TreeNode> {
    const root = realPathOf(this.#dir);
    if (root === null) {
      throw new Deno.errors.NotFound(
        `dir: there is no directory ${quote(this.#dir)}; is its disk mounted?`,
      );
    }
    this.#root = root;
    return await readLocalTree(this.#root, this.#settings.signal);
  }

  async readTarget(route: Route): Promise<TreeNode | null> {
    try {
      return await readRemoteTree(route, this.#uri, false, this.#settings.signal);
    } catch (error) {
      if (!(error instanceof TransferError) || error.status !== 404) throw error;
      this.#isMissing = true;
      return null;
    }
  }

  async begin(route: Route): Promise<void> {
    if (!this.#isMissing) return;
    const response = await route.request("PUT", this.#uri, {}, EMPTY);
    await route.discard(response);
    const { status } = response;
    if (status === 201 || status === 204) return;
    const error = statusError("PUT", this.#uri, response, "make");
    // The root of an app that does not list is there, and can't be made.
    if (status !== 403) throw error;
    this.#refusal = error;
  }

  async look(route: Route, node: TreeNode): Promise<TreeNode | null> {
    const response = await route.request("HEAD", this.#uriOf(node), {});
    await route.discard(response);
    const { status, headers } = response;
    if (status === 404) return null;
    const { "content-length": size, "last-modified": modified } = headers;
    if (status !== 200 || typeof size !== "number") {
      // A directory is redirected to the path with a slash.
      const isDirectory = status > 300 && status < 400;
      const kind = isDirectory ? "directory" : "other";
      return new TreeNode(null, node.name, kind, 0, 0, isDirectory ? null : "unreadable");
    }
    const time = typeof modified === "string" ? Date.parse(modified) : NaN;
    return new TreeNode(null, node.name, "file", size, Number.isNaN(time) ? 0 : time);
  }

  async names(route: Route, path: readonly string[]): Promise<ReadonlySet<string>> {
    const uri = this.#uri + fileUri(...path, "").slice(1);
    try {
      return await readRemoteNames(route, uri, this.#settings.signal);
    } catch (error) {
      if (error instanceof TransferError && error.status === 404) return new Set();
      throw error;
    }
  }

  compare(route: Route, copies: readonly Copy[]): Promise<boolean[]> {
    const pathOf = (node: TreeNode) => this.#pathOf(node);
    return compareContents(route, this.#uri, copies, pathOf, this.#settings.signal);
  }

  #uriOf({ path }: TreeNode, isDirectory = false): string {
    return this.#uri + fileUri(...path, ...isDirectory ? [""] : []).slice(1);
  }

  #pathOf(node: TreeNode): string {
    return prefixOf(this.#root) + node.path.join("/");
  }

  async copySmall(
    route: Route,
    copies: readonly Copy[],
    done: (copy: Copy, outcome: Outcome) => void,
  ): Promise<void> {
    const sent: Sent[] = [];
    const existing: Sent[] = [];
    const body = new ChunkedBodyIter(this.#chunksOf(copies, sent, done));
    const uri = `${this.#uri}?bundle=put`;
    let count = 0;
    for await (const { record } of requestBundle(route, uri, body, PUT_ANSWER, "put")) {
      const file = sent[count++];
      if (file === undefined) throw unexpectedResponse("POST", uri, "the response is too long");
      if (record.status === 412 && !this.#settings.replace) existing.push(file);
      else done(file.copy, this.#outcomeOf(file, record.status));
    }
    if (count < sent.length) {
      throw unexpectedResponse("POST", uri, "the response does not name all files");
    }
    if (existing.length === 0) return;
    // What an earlier request put there, before its connection broke off, is the same.
    const same = await this.compare(route, existing.map(({ copy }) => copy));
    for (const [i, { copy, sha256 }] of existing.entries()) {
      done(copy, same[i] ? { bytes: 0, sha256 } : { error: existsAlready(copy.node) });
    }
  }

  /** The records of a request, and which files are in it. */
  async *#chunksOf(
    copies: readonly Copy[],
    sent: Sent[],
    done: (copy: Copy, outcome: Outcome) => void,
  ): AsyncGenerator<Chunk, void, void> {
    let pieces: Uint8Array[] = [];
    let bytes = 0;
    for (const copy of copies) {
      await this.#pause();
      const { node } = copy;
      const read = this.#read(node) ?? this.#read(node);
      if (read === null) {
        done(copy, { again: changedWhileMoved(this.#pathOf(node)) });
        continue;
      }
      if (!("content" in read)) {
        done(copy, read);
        continue;
      }
      const { content, modified } = read;
      const sha256 = createHash("sha256").update(content).digest("hex");
      const line = formatRecord({
        path: node.path,
        size: content.length,
        modified,
        sha256,
        ...(this.#settings.replace ? {} : { "if-none-match": "*" as const }),
      });
      sent.push({ copy, bytes: content.length, sha256: this.#settings.verify ? sha256 : null });
      const header = encoder.encode(line);
      pieces.push(header, content);
      bytes += header.length + content.length;
      if (bytes < CHUNK_BYTES) continue;
      yield [null, joined(pieces, bytes)];
      pieces = [];
      bytes = 0;
    }
    const end = encoder.encode(BUNDLE_END);
    yield [null, joined([...pieces, end], bytes + end.length)];
    yield [null, EMPTY];
  }

  /** Reads a small file; `null` if it changes meanwhile. */
  #read(node: TreeNode): { content: Uint8Array; modified: Date } | Outcome | null {
    const path = this.#pathOf(node);
    try {
      // A link, or what opening would wait for.
      const seen = lstatSync(path);
      if (!seen.isFile()) return { error: this.#replaced(node) };
      const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
      try {
        const before = fstatSync(file);
        if (before.ino !== seen.ino || before.dev !== seen.dev) return null;
        if (before.size >= BUNDLED_BELOW_BYTES) return { alone: true };
        const content = new Uint8Array(before.size);
        if (!readWhole(file, content, before.ctimeMs)) return null;
        if (!isSameVersion(before, fstatSync(file))) return null;
        if (!isRealFile(path)) return { error: this.#replaced(node) };
        return { content, modified: new Date(Math.floor(before.mtimeMs)) };
      } finally {
        closeSync(file);
      }
    } catch (error) {
      return { error };
    }
  }

  #replaced(node: TreeNode): TransferError {
    return new TransferError(
      "CHANGED",
      `${
        this.#pathOf(node)
      } was replaced by something that is not a file, or is reached by a link now`,
    );
  }

  #outcomeOf({ copy: { node }, bytes, sha256 }: Sent, status: number): Outcome {
    if (status === 201 || status === 204) {
      this.#refusal = null;
      return { bytes, sha256 };
    }
    const error = statusError("PUT", this.#uriOf(node), { status, reason: "" });
    if (status === 507) throw error;
    if (status === 403 && this.#refusal !== null) throw this.#refusal;
    return status === 400 || status === 503 ? { again: error } : { error };
  }

  async copyAlone(
    route: Route,
    { node, obstacle }: Copy,
    way: Obstacle | null,
    progress: (bytes: number) => void,
  ): Promise<TransferResult> {
    const path = this.#pathOf(node);
    const check = () => {
      if (!isRealFile(path)) throw this.#replaced(node);
    };
    check();
    const { verify, replace, signal } = this.#settings;
    return await uploadFile(
      route,
      path,
      this.#uriOf(node),
      {
        resume: true,
        verify,
        replace,
        modified: new Date(node.modified),
        onProgress: ({ bytes, resumedFrom }) => progress(resumedFrom + bytes),
        signal,
      },
      { ...replacing(way), ...replacing(obstacle) },
      check,
    );
  }

  async lookAgain(route: Route, { node }: Copy): Promise<void> {
    await route.discard(await route.request("HEAD", this.#uriOf(node), {}));
  }

  async makeDirectories(route: Route, nodes: readonly TreeNode[]): Promise<unknown[]> {
    const lines = nodes.map(({ path }) => formatRecord({ path, kind: "directory" }));
    // Bytes: a request whose connection the server has closed meanwhile can be made again.
    const body = encoder.encode(lines.join("") + BUNDLE_END);
    const errors: unknown[] = [];
    const uri = `${this.#uri}?bundle=put`;
    for await (const { record: { status } } of requestBundle(route, uri, body, PUT_ANSWER, "put")) {
      const node = nodes[errors.length];
      if (node === undefined) throw unexpectedResponse("POST", uri, "the response is too long");
      const isMade = status === 201 || status === 204;
      const error = statusError("PUT", this.#uriOf(node, true), { status, reason: "" }, "make");
      if (status === 507) throw error;
      errors.push(isMade ? null : error);
    }
    return errors;
  }

  async replaceByDirectory(route: Route, node: TreeNode, obstacle: Obstacle): Promise<void> {
    const uri = this.#uriOf(node, true);
    const response = await route.request("PUT", uri, replacing(obstacle), EMPTY);
    await route.discard(response);
    const { status } = response;
    if (status !== 201 && status !== 204) throw statusError("PUT", uri, response, "make");
  }

  async remove(route: Route, node: TreeNode): Promise<void> {
    const uri = this.#uriOf(node, node.kind === "directory");
    const response = await route.request("DELETE", uri, {});
    await route.discard(response);
    const { status } = response;
    // It may be gone by itself.
    if (status !== 204 && status !== 404) throw statusError("DELETE", uri, response, "delete");
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  async #pause(): Promise<void> {
    if (!this.#turns.isOver) return;
    await this.#turns.next(this.#root);
    this.#settings.signal.throwIfAborted();
  }
}

function isSameVersion(one: Stats, other: Stats): boolean {
  return one.size === other.size && one.mtimeMs === other.mtimeMs && one.ctimeMs === other.ctimeMs;
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** The header that names what may be replaced, as it was seen. */
function replacing(obstacle: Obstacle | null): HeaderDict {
  if (obstacle === null) return {};
  if (obstacle.kind === "link") return { "replace-link": "*" };
  const { node } = obstacle;
  if (obstacle.kind === "file") {
    return { "replace-file": `${node.size},${new Date(node.modified).toISOString()}` };
  }
  const depth = node.path.length;
  const entries = obstacle.nodes.filter((each) => each !== node).map((each) => {
    const { entry } = each;
    return { ...entry, path: entry.path.slice(depth) };
  });
  return { "replace-directory": digestTree(entries) };
}
