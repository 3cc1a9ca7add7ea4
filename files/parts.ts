/**
 * Parts: the data of interrupted uploads, which can be resumed.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { statOrNull } from "../disk/names.ts";
import type { FileRequest } from "./file_request.ts";
import { Refusal } from "./refusal.ts";
import type { UploadHeaders } from "./upload_headers.ts";
import { inUse, type Listed, listUnfinished, pathOf, removeUnlocked } from "./unfinished.ts";

/** The number of parts that clients of one authority may have. */
const MAX_PARTS = 16;

/** Where a part is kept, whether or not there is one. */
export interface PartName {
  readonly path: string;
  /** The prefix of the names of all parts of the same authority. */
  readonly prefix: string;
}

/**
 * Returns where the part of an upload is kept. Only the client that sent it finds it: another one, by
 * its own key or its authority's, gets another path.
 */
export function namePart(
  { root, session, target: { names } }: FileRequest,
  { length, digest, version }: UploadHeaders,
): PartName {
  const certificate = session?.peerCertificate;
  const authority = certificate?.authority?.publicKey256 ?? "";
  const identity = [authority, certificate?.publicKey256 ?? "", names, length, digest, version];
  const prefix = `part-${sha256(authority).slice(0, 32)}-`;
  return { path: pathOf(root, prefix + sha256(JSON.stringify(identity))), prefix };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Bytes of a part; 0 if there is none. */
export function partSize({ path }: PartName): number {
  const state = statOrNull(path);
  return state?.isFile() ? Number(state.size) : 0;
}

/**
 * Makes room for one more part: removes the oldest idle ones of the same authority if there are too many,
 * but none that another process writes to.
 *
 * The announced length of the upload has no effect: bytes take no room until they arrive.
 *
 * @throws {Refusal} if too many parts of the authority are being written.
 */
export function makeRoom(root: string, part: PartName): void {
  const left = removeOldest(root, part, ({ length }) => length < MAX_PARTS);
  if (left.length < MAX_PARTS) return;
  throw new Refusal(507, `${MAX_PARTS} uploads of this authority at once`);
}

/**
 * Makes room for the bytes of a part: removes the oldest idle ones of the same authority. Call it in
 * the same turn in which the part is truncated to the result: otherwise another part gets the same room.
 *
 * @param maxBytes The limit for all parts of the authority, including those that are being written.
 * @returns How many of the bytes there is room for.
 */
export function findRoom(root: string, part: PartName, bytes: number, maxBytes: number): number {
  const wanted = Math.min(bytes, maxBytes);
  const room = (left: readonly Listed[]) => left.reduce((sum, { size }) => sum - size, maxBytes);
  const left = removeOldest(root, part, (left) => room(left) >= wanted);
  return Math.max(0, Math.min(wanted, room(left)));
}

/** Removes other parts of the same authority, the oldest idle ones first, until there is enough room; returns those left. */
function removeOldest(
  root: string,
  { path, prefix }: PartName,
  isEnough: (left: readonly Listed[]) => boolean,
): readonly Listed[] {
  let left = listUnfinished(root, prefix).filter((other) => other.path !== path);
  const idle = left.filter(({ isIdle }) => isIdle).sort((a, b) => a.modified - b.modified);
  for (const part of idle) {
    if (isEnough(left)) break;
    if (removeUnlocked(part.path)) left = left.filter((other) => other !== part);
  }
  return left;
}

/** An upload in progress. */
interface Upload {
  /** True once a newer request has asked for the same part. */
  isEnded: boolean;
  /** Cancels its pending operation. */
  readonly cancel: () => void;
  /** Resolves when it has ended. */
  readonly done: Promise<void>;
}

/** The uploads of this process, by the path of their part. */
const uploads = new Map<string, Upload>();

/**
 * Ends the upload in progress to a part.
 *
 * @returns Resolves when it has ended; `null` if there is none. Another one may have begun by then.
 */
export function endOlder({ path }: PartName): Promise<void> | null {
  const older = uploads.get(path);
  if (older === undefined) return null;
  older.isEnded = true;
  older.cancel();
  return older.done;
}

/**
 * Runs an upload, registered as long as it takes. Called in the same turn in which
 * {@linkcode endOlder} has found none.
 *
 * @param cancel Called when a newer request asks for the same part.
 */
export async function asUpload<T>(
  { path }: PartName,
  cancel: () => void,
  work: (upload: Pick<Upload, "isEnded">) => Promise<T>,
): Promise<T> {
  const { promise: done, resolve } = Promise.withResolvers<void>();
  const upload = { isEnded: false, cancel, done };
  uploads.set(path, upload);
  inUse.add(path);
  try {
    return await work(upload);
  } finally {
    uploads.delete(path);
    inUse.delete(path);
    resolve();
  }
}
