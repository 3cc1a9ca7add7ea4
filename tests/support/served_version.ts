/**
 * A file that an app serves from memory, with a chosen version and validators: real files have an
 * entity tag only after two seconds.
 */

import { BodyIter, ContentRange, type HeaderDict, Range } from "@degu/degu/base";
import { download, type TransferOptions } from "@degu/degu/files";
import { formatReprDigest } from "@degu/internal/files/digest.ts";
import type { AppFunction } from "@degu/degu";
import { sha256Of } from "./bundles.ts";
import { tempDir } from "./directories.ts";
import { serve } from "./serving.ts";
import { randomBytes } from "./transferring.ts";

const PIECE_BYTES = 65536;

/** The file, and the requests for it. */
export class ServedVersion {
  content: Uint8Array<ArrayBuffer>;
  etag: string | null = '"one"';
  /** Whether the server sends the digest always, only to a HEAD, or never. */
  digest: "get" | "head" | "never" = "head";
  /** The SHA-256 to send, as hexadecimal digits; `null` for the right one. */
  sha256: string | null = null;
  /** The number of bytes of a body that are sent before the connection ends. */
  cutAfter = Infinity;
  /** Called before each piece with the number of bytes sent so far. */
  beforePiece: (sent: number) => Promise<void> | void = () => {};
  /** Called before each response with the digest. */
  beforeDigest: () => void = () => {};
  /** Headers of all responses, beside those of the version. */
  headers: HeaderDict = {};
  /** Methods, ranges and conditions of the requests. */
  readonly requests: string[] = [];

  constructor(content: Uint8Array<ArrayBuffer>) {
    this.content = content;
  }

  /** Responds like a FilesApp, to any path. */
  readonly app: AppFunction = ({ method, headers }, session) => {
    const { range, "if-range": ifRange, "want-repr-digest": wanted } = headers;
    const isRange = range instanceof Range && (ifRange === undefined || ifRange === this.etag);
    this.requests.push([method, ...isRange ? [String(range)] : []].join(" "));
    const gives = wanted !== undefined &&
      (this.digest === "get" || (this.digest === "head" && method === "HEAD"));
    if (gives) this.beforeDigest();
    const fields = {
      ...this.headers,
      ...(this.etag === null ? {} : { etag: this.etag }),
      ...(gives ? { "repr-digest": formatReprDigest(this.sha256 ?? this.actual()) } : {}),
    };
    const total = this.content.length;
    if (method === "HEAD") return [200, "OK", { ...fields, "content-length": total }, null];
    const part = isRange
      ? range.contentRange(total)
      : new ContentRange(0, Math.max(1, total), Math.max(1, total));
    const bytes = isRange ? this.content.slice(part.start, part.stop) : this.content.slice();
    const body = new BodyIter(this.#pieces(bytes, () => session.close()), bytes.length);
    if (isRange) return [206, "Partial Content", { ...fields, "content-range": part }, body];
    return [200, "OK", fields, body];
  };

  actual(): string {
    return sha256Of(this.content);
  }

  async *#pieces(bytes: Uint8Array, cut: () => void): AsyncGenerator<Uint8Array, void, void> {
    for (let at = 0; at < bytes.length;) {
      await this.beforePiece(at);
      const end = Math.min(at + PIECE_BYTES, bytes.length, this.cutAfter);
      if (at < end) yield bytes.subarray(at, end);
      at = end;
      if (at < this.cutAfter) continue;
      cut();
      throw new Error("cut");
    }
  }
}

/**
 * A served file of random bytes, a client of its server, and a directory to download to, as `copy`.
 */
export async function serveVersion(size: number) {
  const version = new ServedVersion(randomBytes(size));
  const serving = serve(version.app);
  const { path: dir, [Symbol.asyncDispose]: remove } = await tempDir();
  const client = serving.makeClient();
  const file = `${dir}/copy`;
  return {
    there: version,
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
