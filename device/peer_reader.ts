/**
 * Reads the files of peers, and trusts none of them to be valid.
 *
 * @module
 */

import { join } from "node:path";
import { quote } from "../base/errors.ts";
import type { Logger } from "../net/standard_logger.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { WRITABLE_BY_OTHERS } from "../pki/private_paths.ts";
import { nameKey } from "./device_name.ts";
import type { Peer } from "./peer.ts";
import { idOfFileName, MAX_PEER_FILE_BYTES, parsePeer, peerFileName } from "./peer_file.ts";
import type { StateDirectory } from "./state_directory.ts";

/** Reads the files of peers. */
export class PeerReader {
  readonly #files: StateDirectory;
  readonly #logger: Logger;
  readonly #user: number | null = Deno.uid();
  /** What was last read, by file name: it seldom changes. */
  readonly #read = new Map<string, { readonly text: string; readonly peer: Peer }>();
  /** The problems that were logged, by file name, so that each is logged once. */
  readonly #reported = new Map<string, string>();

  /** Reads the files of a directory, and logs those that are not a peer's. */
  constructor(files: StateDirectory, logger: Logger) {
    this.#files = files;
    this.#logger = logger;
  }

  /** Reads all of them, by name. */
  async readAll(): Promise<Peer[]> {
    const names = await this.#files.names();
    for (const name of this.#reported.keys()) {
      if (!names.includes(name)) this.#reported.delete(name);
    }
    const peers: Peer[] = [];
    for (const name of names) {
      const peer = await this.#readFile(name, idOfFileName(name));
      if (peer !== null) peers.push(peer);
    }
    return peers.sort((a, b) => compare(nameKey(a.name), nameKey(b.name)) || compare(a.id, b.id));
  }

  /** Reads the file of a peer; `null` if there is none that can be used. */
  read(id: string): Promise<Peer | null> {
    return this.#readFile(peerFileName(id), id);
  }

  async #readFile(name: string, id: string | null): Promise<Peer | null> {
    try {
      if (id === null) throw new RangeError("its name is not that of a peer's file");
      const text = await this.#readText(name);
      const last = this.#read.get(name);
      if (last?.text === text) return last.peer;
      const peer = await parsePeer(id, text);
      this.#read.set(name, { text, peer });
      this.#reported.delete(name);
      return peer;
    } catch (error) {
      this.#read.delete(name);
      if (error instanceof Deno.errors.NotFound) return null;
      const isOfFile = [RangeError, TypeError, Deno.errors.PermissionDenied];
      if (!isOfFile.some((each) => error instanceof each)) throw error;
      this.#report(name, error instanceof Deno.errors.PermissionDenied ? UNREADABLE : error);
      return null;
    }
  }

  async #readText(name: string): Promise<string> {
    const path = join(this.#files.path, name);
    const { isFile } = await Deno.lstat(path);
    if (!isFile) throw new RangeError("it is not a regular file");
    using file = await Deno.open(path);
    const { isFile: isStillFile, uid, mode, size } = await file.stat();
    if (!isStillFile) throw new RangeError("it is not a regular file");
    if (this.#user !== null && uid !== this.#user && uid !== 0) {
      throw new RangeError("it belongs to another user");
    }
    if (this.#user !== null && ((mode ?? 0) & WRITABLE_BY_OTHERS) !== 0) {
      throw new RangeError("other users can write it");
    }
    if (size > MAX_PEER_FILE_BYTES) {
      throw new RangeError(`it has more than ${MAX_PEER_FILE_BYTES} bytes`);
    }
    return await readUpTo(file, MAX_PEER_FILE_BYTES);
  }

  #report(name: string, error: unknown): void {
    const problem = plainMessageOf(error);
    if (this.#reported.get(name) === problem) return;
    this.#reported.set(name, problem);
    this.#logger.warn(`the file ${quote(name)} among the peers is not used: ${problem}`);
  }
}

const UNREADABLE = "it can't be read";

/** The file may have grown since its size was checked. */
async function readUpTo(file: Deno.FsFile, most: number): Promise<string> {
  const bytes = new Uint8Array(most);
  let length = 0;
  while (length < most) {
    const count = await file.read(bytes.subarray(length));
    if (count === null) break;
    length += count;
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
  } catch {
    throw new RangeError("it is not UTF-8");
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
