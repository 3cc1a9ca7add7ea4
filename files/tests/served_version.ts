/**
 * A file that an app serves from memory, with chosen validators. Files on a disk get an entity tag
 * only two seconds after their last change.
 */

import { BodyIter, ContentRange, type HeadersToSend, Range } from "@degu/degu/base";
import { download, type TransferOptions } from "@degu/degu/files";
import { formatReprDigest } from "@degu/internal/files/wire/digest.ts";
import type { AppFunction } from "@degu/degu";
import { sha256Of } from "./bundles.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { randomBytes } from "@degu/testing/transferring.ts";

const PIECE_BYTES = 65536;

/** The file, and the requests for it. */
export class ServedVersion {
  content: Uint8Array<ArrayBuffer>;
  etag: string | null = '"one"';
  /** Whether GET and HEAD, only HEAD, or no response has the digest. */
  digest: "get" | "head" | "never" = "head";
  /** The SHA-256 to send, as hexadecimal digits; `null` sends the hash of the content. */
  sha256: string | null = null;
  /** The number of bytes of a body after which the server closes the connection. */
  cutAfterBytes = Infinity;
  /** Called before each piece with the number of bytes sent so far. */
  beforePiece: (sentBytes: number) => Promise<void> | void = () => {};
  /** Called before each response with the digest. */
  beforeDigest: () => void = () => {};
  /** The status of each response to HEAD. */
  headStatus = 200;
  /** Additional headers of all responses. */
  headers: HeadersToSend = {};
  /** The method of each request, and its range. */
  readonly requests: string[] = [];

  constructor(content: Uint8Array<ArrayBuffer>) {
    this.content = content;
  }

  /** Responds like a FilesApp, to any path. */
  readonly app: AppFunction = ({ method, headers }, session) => {
    const { range, "if-range": ifRange, "want-repr-digest": wantedDigest } = headers;
    const isRange = range instanceof Range && (ifRange === undefined || ifRange === this.etag);
    this.requests.push([method, ...isRange ? [String(range)] : []].join(" "));
    const sendsDigest = wantedDigest !== undefined &&
      (this.digest === "get" || (this.digest === "head" && method === "HEAD"));
    if (sendsDigest) this.beforeDigest();
    const fields = {
      ...this.headers,
      ...(this.etag === null ? {} : { etag: this.etag }),
      ...(sendsDigest
        ? { "repr-digest": formatReprDigest(this.sha256 ?? this.computeSha256()) }
        : {}),
    };
    const total = this.content.length;
    if (method === "HEAD") {
      return [this.headStatus, "", { ...fields, "content-length": total }, null];
    }
    const part = isRange
      ? range.contentRange(total)
      : new ContentRange(0, Math.max(1, total), Math.max(1, total));
    const bytes = isRange ? this.content.slice(part.start, part.stop) : this.content.slice();
    const body = new BodyIter(this.#makePieces(bytes, () => session.close()), bytes.length);
    if (isRange) return [206, "Partial Content", { ...fields, "content-range": part }, body];
    return [200, "OK", fields, body];
  };

  computeSha256(): string {
    return sha256Of(this.content);
  }

  async *#makePieces(
    bytes: Uint8Array,
    closeConnection: () => void,
  ): AsyncGenerator<Uint8Array, void, void> {
    for (let position = 0; position < bytes.length;) {
      await this.beforePiece(position);
      const end = Math.min(position + PIECE_BYTES, bytes.length, this.cutAfterBytes);
      if (position < end) yield bytes.subarray(position, end);
      position = end;
      if (position < this.cutAfterBytes) continue;
      closeConnection();
      throw new Error("cut");
    }
  }
}

/**
 * Serves a file of random bytes, and makes a client that downloads it to a file `copy` in a new
 * directory.
 */
export async function serveVersion(size: number) {
  const version = new ServedVersion(randomBytes(size));
  const serving = serve(version.app);
  const { path: dir, [Symbol.asyncDispose]: remove } = await createTempDir();
  const client = serving.makeClient();
  const file = `${dir}/copy`;
  return {
    servedFile: version,
    serving,
    client,
    dir,
    file,
    get: (options?: TransferOptions) => download(client, "/file", file, options),
    [Symbol.asyncDispose]: async () => {
      await serving[Symbol.asyncDispose]();
      await remove();
    },
  };
}
