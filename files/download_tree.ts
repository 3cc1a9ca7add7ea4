/**
 * Downloads trees from another device.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { syncAllIfPossible } from "../disk/names.ts";
import { Turns } from "../disk/turns.ts";
import type { Client, Connection } from "../client.ts";
import { formatPaths, GET_ANSWER } from "./bundle.ts";
import { downloadFile } from "./download.ts";
import { fileUri } from "./file_name.ts";
import { readRemoteTree } from "./list_tree.ts";
import { isOverload } from "../disk/names.ts";
import { type Arrived, LocalTarget } from "./local_tree.ts";
import type { TransferResult } from "./options.ts";
import type { Route } from "./route.ts";
import {
  changedWhileMoved,
  statusError,
  TransferError,
  unexpectedResponse,
} from "./transfer_error.ts";
import {
  type Copy,
  type Obstacle,
  show,
  type TreeNode,
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

/**
 * Makes a directory of this device like one that a `FilesApp` with `list: true` serves: one attempt. After any error, or
 * interruption, call it again to continue: what is complete is unchanged then.
 *
 * Both ends are listed and compared; what differs is copied over several connections, small files many in a request. Each
 * file is verified and synced to the disk before it gets its name, as with {@linkcode download}, and gets the time of the
 * source; a new file has the default permission bits, and a replaced one keeps its own. With `delete`, what the source does
 * not have is deleted at the end, if the source's list is complete and every file was copied.
 *
 * What is so for one file fails alone, as an event and in `failed` of the result: it can't be read, changes all the
 * time, or something is in its way. Symbolic links and special files are skipped, and nothing is written or deleted through
 * a link; `dir` itself may be one.
 *
 * Needs `--allow-read` and `--allow-write` of the directory, and what the client needs.
 *
 * @param from Where the files are.
 * @param uri The URI of the directory, as `fileUri` returns it for a final `""`; it ends with `/`.
 * @param dir The path of the directory of this device; it is made if it is missing. What is in one is then in the other.
 * @param options What to copy and delete, and what to call.
 * @returns What was done.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the URI does not end with `/`.
 * @throws {Deno.errors.NotCapable} if the program may not write it: files don't fail one by one then.
 * @throws {TransferError} if there is no such directory, the list is not valid or was cut, or a disk is full.
 * @throws what `filter` or `onEvent` throws; the reason of the signal; the errors of `connect` and `request`.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { downloadTree, FilesApp } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const there = await Deno.makeTempDir();
 * const here = await Deno.makeTempDir();
 * await Deno.mkdir(`${there}/sub`);
 * await Deno.writeTextFile(`${there}/sub/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(there, { list: true }));
 * server.serveForever();
 * const client = new Client(server.address);
 *
 * const { files, bytes } = await downloadTree(client, "/", `${here}/copy`);
 * assertEquals([files, bytes], [1, 5]);
 * assertEquals(await Deno.readTextFile(`${here}/copy/sub/a b.txt`), "hello");
 * assertEquals((await downloadTree(client, "/", `${here}/copy`)).unchanged, 1);
 * await Deno.remove(there, { recursive: true });
 * await Deno.remove(here, { recursive: true });
 * ```
 */
export async function downloadTree(
  from: Client | Connection,
  uri: string,
  dir: string,
  options: TreeOptions = {},
): Promise<TreeResult> {
  return await transferTree("from", from, dir, uri, options, (settings) => {
    return new Download(uri, dir, settings);
  });
}

/** How many small files are placed together, so that the disk syncs them at the same time. */
const PLACED_FILES = 128;
const PLACED_BYTES = 1024 * 1024;

class Download implements Direction {
  readonly #uri: string;
  readonly #settings: TreeSettings;
  readonly #target: LocalTarget;
  readonly #turns = new Turns();
  /** Directories from which something was removed. */
  readonly #changed = new Set<string>();
  /** Sizes of files that have changed since they were listed. */
  readonly #sizes = new Map<Copy, number>();
  /** Files that had become too large. */
  readonly #grown = new Set<Copy>();

  constructor(uri: string, dir: string, settings: TreeSettings) {
    this.#uri = uri;
    this.#settings = settings;
    this.#target = new LocalTarget(dir, settings.replace, settings.signal);
  }

  readSource(route: Route): Promise<TreeNode> {
    return readRemoteTree(route, this.#uri, true, this.#settings.signal);
  }

  readTarget(): Promise<TreeNode | null> {
    return this.#target.read();
  }

  begin(): Promise<void> {
    this.#target.begin();
    return Promise.resolve();
  }

  look(_route: Route, node: TreeNode): Promise<TreeNode | null> {
    return Promise.resolve(this.#target.look(node));
  }

  names(_route: Route, path: readonly string[]): Promise<ReadonlySet<string>> {
    return Promise.resolve(this.#target.names(path));
  }

  compare(route: Route, copies: readonly Copy[]): Promise<boolean[]> {
    const pathOf = (node: TreeNode) => this.#target.pathOf(node);
    return compareContents(route, this.#uri, copies, pathOf, this.#settings.signal);
  }

  #uriOf({ path }: TreeNode): string {
    return this.#uri + fileUri(...path).slice(1);
  }

  async copySmall(
    route: Route,
    copies: readonly Copy[],
    done: (copy: Copy, outcome: Outcome) => void,
  ): Promise<void> {
    for (const copy of copies) {
      if (this.#grown.delete(copy)) await this.lookAgain(route, copy);
    }
    let arrived: Arrived[] = [];
    let bytes = 0;
    let placing = Promise.resolve();
    const place = async () => {
      const files = arrived;
      arrived = [];
      bytes = 0;
      await placing;
      placing = this.#place(files, done);
      // It is awaited before the next ones are placed, and at the end.
      placing.catch(() => {});
    };
    try {
      const body = formatPaths(copies.map(({ node }) => node.path));
      const uri = `${this.#uri}?bundle=get`;
      let count = 0;
      for await (const { record, content } of requestBundle(route, uri, body, GET_ANSWER, "get")) {
        const copy = copies[count++];
        if (copy === undefined || record.path.join("/") !== copy.node.path.join("/")) {
          throw unexpectedResponse("POST", uri, "the response has files that were not requested");
        }
        if (record.status !== 200) {
          done(copy, this.#refused(copy, record.status));
          continue;
        }
        const problem = this.#problemOf(copy, record.sha256, content);
        if (problem !== null) {
          done(copy, { again: problem });
          continue;
        }
        const sha256 = this.#settings.verify ? record.sha256 : null;
        arrived.push({ copy, content: content.slice(), modified: record.modified, sha256 });
        bytes += content.length;
        if (arrived.length >= PLACED_FILES || bytes >= PLACED_BYTES) await place();
      }
      if (count < copies.length) {
        throw unexpectedResponse("POST", uri, "the response does not have all files");
      }
    } finally {
      // What has arrived is placed, even if the connection has broken off.
      if (!this.#settings.signal.aborted) await place();
      await placing;
    }
  }

  /** Why what has arrived is not the file; `null` if it is. */
  #problemOf(copy: Copy, sha256: string, content: Uint8Array): TransferError | null {
    const name = show(copy.node.path);
    if (content.length > 2 * (this.#sizes.get(copy) ?? copy.node.size) + SLACK_BYTES) {
      this.#grown.add(copy);
      return changedWhileMoved(name);
    }
    if (!this.#settings.verify) return null;
    if (createHash("sha256").update(content).digest("hex") === sha256) return null;
    return new TransferError("DIGEST_MISMATCH", `${name}: what arrived has another SHA-256`);
  }

  #refused({ node }: Copy, status: 403 | 404 | 409 | 413 | 503): Outcome {
    if (status === 413) return { alone: true };
    if (status === 409) return { again: changedWhileMoved(show(node.path)) };
    const error = statusError("GET", this.#uriOf(node), { status, reason: "" });
    return status === 503 ? { again: error } : { error };
  }

  async #place(
    files: readonly Arrived[],
    done: (copy: Copy, outcome: Outcome) => void,
  ): Promise<void> {
    if (files.length === 0) return;
    const errors = await this.#target.place(files);
    for (const [i, { copy, content, sha256 }] of files.entries()) {
      const error = errors[i];
      if (error === null) done(copy, { bytes: content.length, sha256 });
      else done(copy, isOverload(error) ? { again: error } : { error });
    }
  }

  async copyAlone(
    route: Route,
    copy: Copy,
    way: Obstacle | null,
    progress: (bytes: number) => void,
  ): Promise<TransferResult> {
    const { node } = copy;
    const { verify, replace, signal } = this.#settings;
    const isBlocked = way?.kind === "file";
    // The part lies beside what is in the way.
    this.#target.makeDirectory((isBlocked ? way.node : node).parent!, new Set());
    const result = await downloadFile(
      route,
      this.#uriOf(node),
      this.#target.pathOf(isBlocked ? way.node : node),
      {
        resume: true,
        verify,
        replace,
        modified: new Date(node.modified),
        onProgress: ({ bytes, resumedFrom }) => progress(resumedFrom + bytes),
        signal,
      },
      {
        maxBytes: (this.#sizes.get(copy) ?? node.size) + LARGE_SLACK_BYTES,
        place: (part) => this.#target.placePart(copy, part, way),
      },
    );
    await this.#target.syncAbove(node);
    return result;
  }

  async lookAgain(route: Route, copy: Copy): Promise<void> {
    const uri = this.#uriOf(copy.node);
    const response = await route.request("HEAD", uri, {});
    await route.discard(response);
    const { status, headers } = response;
    const { "content-length": size } = headers;
    if (status === 200 && typeof size === "number") this.#sizes.set(copy, size);
  }

  async makeDirectories(_route: Route, nodes: readonly TreeNode[]): Promise<unknown[]> {
    const errors: unknown[] = [];
    const changed = new Set<string>();
    for (const node of nodes) {
      await this.#pause();
      try {
        this.#target.makeDirectory(node, changed);
        errors.push(null);
      } catch (error) {
        errors.push(error);
      }
    }
    await syncAllIfPossible(changed);
    return errors;
  }

  replaceByDirectory(_route: Route, node: TreeNode, obstacle: Obstacle): Promise<void> {
    this.#target.replaceByDirectory(node, obstacle);
    return this.#target.syncAbove(node);
  }

  async remove(_route: Route, node: TreeNode): Promise<void> {
    await this.#pause();
    const path = this.#target.pathOf(node);
    this.#target.remove(node);
    this.#changed.delete(path);
    this.#changed.add(path.slice(0, path.lastIndexOf("/")));
  }

  finish(): Promise<void> {
    return syncAllIfPossible(this.#changed);
  }

  async #pause(): Promise<void> {
    if (!this.#turns.isOver) return;
    await this.#turns.next(this.#target.root);
    this.#settings.signal.throwIfAborted();
  }
}

/**
 * How much larger than its list said a file may be by now, which may have grown. More of it is not taken before
 * another look: a peer could list a small file and send without end.
 */
const SLACK_BYTES = 4096;
const LARGE_SLACK_BYTES = 65536;
