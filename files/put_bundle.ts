/** Bundles that arrive: many small files at once. */

import type { Request, ResponseTuple } from "../base/app/message.ts";
import {
  BUNDLE_END,
  BUNDLE_TYPE,
  type BundledFile,
  BundleParser,
  formatRecord,
  MAX_RECORDS,
  PUT_REQUEST,
  type PutRecord,
  type PutStatus,
} from "./bundle.ts";
import { sha256Of } from "./digest.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import type { FileRequest } from "./file_request.ts";
import { checkAdmission } from "./put.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import type { Complete, Root } from "./root.ts";
import { type Placement, type SmallFile, SmallFiles } from "./small_files.ts";

const encoder = new TextEncoder();

/** Writes the files of a bundle, and answers with a status for each. */
export async function putBundle(request: FileRequest): Promise<ResponseTuple> {
  const writer = new BundleWriter(request);
  await using files = new SmallFiles(writer);
  const parser = new BundleParser(PUT_REQUEST);
  try {
    for await (const piece of piecesOf(request.request)) {
      for (const { record, content } of parser.push(piece)) {
        await writer.add(files, record, content);
      }
    }
  } finally {
    // What has arrived whole is not lost, so that the client can go on behind it.
    await files.flush();
  }
  parser.end();
  const answer = writer.statuses.map((status) => formatRecord({ status })).join("") + BUNDLE_END;
  return [200, "OK", { "content-type": BUNDLE_TYPE }, encoder.encode(answer)];
}

async function* piecesOf({ body }: Request): AsyncGenerator<Uint8Array, void, void> {
  if (body === null) return;
  if (!body.chunked) return yield* body;
  for await (const [, data] of body) yield data;
}

/** A file or directory of a bundle. */
interface Sent extends SmallFile {
  /** The position of its status. */
  readonly index: number;
  readonly size: number;
}

/** Where the files of a bundle are placed, and what became of them. */
class BundleWriter implements Placement<Sent> {
  /** The statuses of all records, in their order. */
  readonly statuses: PutStatus[] = [];
  readonly root: Root;
  readonly isLocked = false;
  /** A path of 4 KiB can make 250 directories. */
  readonly maxUnsynced = 1024;
  readonly #request: FileRequest;
  #hasReserved = false;

  constructor(request: FileRequest) {
    this.#request = request;
    this.root = request.root;
  }

  /** Checks a file, and writes it. */
  async add(files: SmallFiles<Sent>, record: PutRecord, content: Uint8Array): Promise<void> {
    const index = this.statuses.length;
    if (index === MAX_RECORDS) throw new Refusal(413, `more than ${MAX_RECORDS} records`);
    this.statuses.push(201);
    const names = [...this.#request.target.names, ...record.path];
    const isDirectory = "kind" in record;
    const isNew = "if-none-match" in record;
    const size = isDirectory ? 0 : record.size;
    const file = { index, names, isDirectory, isNew, size };
    const refusal = names.length > MAX_DEPTH || !names.every(isName)
      ? new Refusal(404, "a name that no file can have")
      : isDirectory
      ? null
      : this.#refusalOf(record, content);
    if (refusal !== null) return this.onFailed(file, refusal);
    await files.add(file, content, isDirectory ? new Date(0) : record.modified);
  }

  /** Why the content of a file is not taken. */
  #refusalOf({ size, sha256 }: BundledFile, content: Uint8Array): Refusal | null {
    const { maxBytes } = this.#request;
    if (size > maxBytes) return new Refusal(413, `${size} bytes, more than ${maxBytes}`);
    if (sha256Of(content) === sha256) return null;
    return new Refusal(400, "the file does not have its digest");
  }

  /** In the reserved directory. */
  temporary(): Omit<Complete, "state"> {
    const { unfinished } = this.#request;
    if (!this.#hasReserved) unfinished.makeDirectory();
    this.#hasReserved = true;
    return { path: unfinished.newPath(), newMode: null };
  }

  /** The peer may have been forgotten meanwhile, and what is reserved removed. */
  admit(): Promise<void> {
    this.#hasReserved = false;
    return checkAdmission(this.#request.session);
  }

  /** Reports a file. */
  onPlaced({ index, names, isDirectory, size }: Sent, isCreated: boolean): void {
    const status = isCreated ? 201 : 204;
    this.statuses[index] = status;
    if (!isDirectory) this.#request.report("put", names, size, true, status);
  }

  /** Notes the status of a file that is refused. */
  onFailed({ index, names, size }: Sent, error: unknown): void {
    const refusal = refusalOf(this.#request.unfinished.explainFull(error, size, null));
    if (refusal === null) throw error;
    // No other status is the result of what is done here.
    this.statuses[index] = refusal.status as PutStatus;
    this.#request.warn(refusal, names.join("/"));
  }
}
