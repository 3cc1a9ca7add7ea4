import type { FileHandle } from "node:fs/promises";
import type mime from "mime";
import {
  BodyError,
  BodyIter,
  buildUri,
  type ContentRange,
  type HeadersToSend,
  printable,
  type Range,
  SuffixRange,
  UnsatisfiedRange,
} from "../../base.ts";
import type { Request, ResponseTuple } from "../../server.ts";
import { parseDecimal } from "../../internal/decimal.ts";
import { withPath } from "../../internal/caught_errors.ts";
import {
  checkConditions,
  formatDate,
  isRangeApplicable,
  makeValidators,
  type Validators,
  versionedStampOf,
} from "../wire/conditions.ts";
import { type DigestCache, isDigestRequested, makeDigestHeader, makeHash } from "../wire/digest.ts";
import {
  type FileStats,
  isOverwritten,
  isUnchanged,
  isWithoutSize,
  type OpenFile,
  readPieces,
  SERVED_PIECE_BYTES,
  statOpenFile,
} from "../disk/file_pieces.ts";
import type { FileRequest } from "./file_request.ts";
import { isTreeRequested, makeListBody } from "./list_body.ts";
import { isJsonAccepted } from "./list_page.ts";
import { makeModeHeader, permissionBitsOf } from "../wire/metadata.ts";
import { findServedFile, toReadRefusal } from "./resolve_path.ts";
import { makeRootPathHeader } from "../wire/reuse.ts";
import { noSizeRefusal, notFoundRefusal, Refusal, unreadableRefusal } from "../refusal.ts";

/** The type of unknown content (RFC 9110 §8.3). Without a type, a browser would guess. */
const DEFAULT_CONTENT_TYPE = "application/octet-stream";
/** The types of names, whose tables take 5 ms that a client doesn't need. */
let mimePromise: Promise<typeof mime> | null = null;

/**
 * Starts to load the types of names, once: without a cache and a network, each attempt would delay
 * a response.
 */
export function loadMime(): Promise<typeof mime> {
  return mimePromise ??= import("mime").then(({ default: mime }) => mime);
}

async function findContentType(
  name: string | undefined,
  reportMissingTypes: FileRequest["reportMissingTypes"],
): Promise<string> {
  try {
    const mime = await loadMime();
    // Without the slash, the name "html" would count as an extension.
    return mime.getType(`/${name}`) ?? DEFAULT_CONTENT_TYPE;
  } catch (error) {
    reportMissingTypes(error);
    return DEFAULT_CONTENT_TYPE;
  }
}

export async function get(fileRequest: FileRequest): Promise<ResponseTuple> {
  const { request, root, target, list, allow } = fileRequest;
  const { names, isDirectory } = target;
  if (isDirectory && list) {
    const isPage = !isTreeRequested(request) && !isJsonAccepted(request.headers);
    const body = await makeListBody(fileRequest, isPage);
    if (body === null) throw notFoundRefusal();
    const isHead = request.method === "HEAD";
    // The list has times of this device, whose clock may differ from the client's clock.
    const date = formatDate(Math.floor(Date.now() / 1000));
    const rootPath = fileRequest.reuse ? makeRootPathHeader(names, true) : {};
    const contentType = isPage ? "text/html; charset=utf-8" : "application/json";
    const headers = { "content-type": contentType, vary: "accept", date, allow, ...rootPath };
    return [200, "OK", headers, isHead ? null : body];
  }
  const path = isDirectory ? [...names, "index.html"] : names;
  const contentType = await findContentType(path.at(-1), fileRequest.reportMissingTypes);
  const file = await findServedFile(root, path);
  if (file === "directory" && !isDirectory) return redirect(request);
  if (file === null || file === "directory") throw notFoundRefusal();
  if (file instanceof Refusal) throw file;
  try {
    return await answerWithFile(fileRequest, await checkSize(file), path, contentType);
  } catch (error) {
    // After the end of the session, any other error is only a consequence.
    fileRequest.session?.signal.throwIfAborted();
    throw toReadRefusal(root, error, path);
  }
}

/** The path is absolute, because several clients can't resolve `./`. */
function redirect({ mount, path, query }: Request): ResponseTuple {
  const location = buildUri([...mount, ...path, ""], query);
  return [301, "Moved Permanently", { location }, null];
}

/**
 * Checks that a file of size 0 is empty: files of some file systems, such as `/proc`, have content.
 * Closes the file after an error.
 */
async function checkSize(file: OpenFile): Promise<OpenFile> {
  if (file.size > 0) return file;
  const { handle } = file;
  try {
    const readSize = () => statOpenFile(handle.fd).size;
    const hasContent = async () => (await handle.read(new Uint8Array(1), 0, 1, 0)).bytesRead > 0;
    if (await isWithoutSize(readSize, hasContent)) throw noSizeRefusal(file.path);
    const checkedAt = Date.now();
    const stats = statOpenFile(handle.fd);
    return { ...file, stats, size: stats.size, checkedAt };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

const MAX_FIRST_READS = 3;

async function answerWithFile(
  fileRequest: FileRequest,
  openedFile: OpenFile,
  path: readonly string[],
  contentType: string,
): Promise<ResponseTuple> {
  let file = openedFile;
  for (let attempt = 1;; attempt++) {
    const isLast = attempt === MAX_FIRST_READS;
    try {
      return await answerWithVersion(fileRequest, file, path, contentType, isLast);
    } catch (error) {
      if (!(error instanceof VersionChangedError)) throw error;
      const { stats, checkedAt } = error;
      file = { ...file, stats, size: stats.size, checkedAt };
    }
  }
}

class VersionChangedError extends Error {
  /** @param stats The current metadata of the file, which is still open. */
  constructor(readonly stats: FileStats, readonly checkedAt: number) {
    super("the file was changed before its first bytes were read");
  }
}

async function answerWithVersion(
  fileRequest: FileRequest,
  file: OpenFile,
  path: readonly string[],
  contentType: string,
  mayGrow: boolean,
): Promise<ResponseTuple> {
  let isHandedOver = false;
  try {
    const { method, headers } = fileRequest.request;
    const validators = makeValidators(file.stats, file.checkedAt);
    const condition = checkConditions(headers, validators);
    if (condition === 412) return [412, "Precondition Failed", {}, null];
    if (condition === 304) return [304, "Not Modified", makeValidatorHeaders(validators), null];
    // A range applies to GET alone (RFC 9110 §14.2).
    const { range: requestedRange } = headers;
    const isRangeAllowed = method === "GET" && isRangeApplicable(headers, validators);
    // The server doesn't know other units than bytes (RFC 9110 §14.2).
    const range = isRangeAllowed && typeof requestedRange === "object" ? requestedRange : null;
    const contentRange = range === null ? null : contentRangeOf(range, file.size);
    if (contentRange instanceof UnsatisfiedRange) {
      return [416, "Range Not Satisfiable", { "content-range": contentRange }, null];
    }
    const makeHeaders = (stats: FileStats): HeadersToSend => ({
      "accept-ranges": "bytes",
      "content-type": contentType,
      "file-stamp": versionedStampOf(stats),
      ...makeModeHeader(permissionBitsOf(file.mode)),
      ...makeValidatorHeaders(
        stats === file.stats ? validators : makeValidators(stats, file.checkedAt),
      ),
    });
    if (method === "HEAD") {
      const rootPath = fileRequest.reuse ? makeRootPathHeader(path, false) : {};
      const digest = await makeHeadDigestHeaders(fileRequest, file);
      const headHeaders = {
        ...makeHeaders(file.stats),
        ...rootPath,
        ...digest,
        "content-length": file.size,
      };
      return [200, "OK", headHeaders, null];
    }
    const { start, stop } = contentRange ?? { start: 0, stop: file.size };
    // Cache the digest for a later request, usually by the same peer.
    const isHashed = isDigestRequested(fileRequest.request.headers) &&
      fileRequest.digestCache.find(file) === null;
    isHandedOver = true;
    const { body, stats } = await makeFileBody(
      file,
      start,
      stop,
      mayGrow,
      isHashed ? fileRequest.digestCache : null,
      (bytes) => {
        const complete = bytes === stop - start;
        const status = contentRange === null ? 200 : 206;
        fileRequest.report({ action: "get", path, bytes, complete, status });
      },
      fileRequest.reportCut,
    );
    const digest = makeDigestHeader(await findOrComputeDigest(fileRequest, file, false));
    const headersWithDigest = { ...makeHeaders(stats), ...digest };
    if (contentRange === null) return [200, "OK", headersWithDigest, body];
    return [206, "Partial Content", { ...headersWithDigest, "content-range": contentRange }, body];
  } finally {
    if (!isHandedOver) await file.handle.close();
  }
}

/** Returns `null` for all bytes of an empty file, which has no range. */
function contentRangeOf(
  range: Range | SuffixRange,
  size: number,
): ContentRange | UnsatisfiedRange | null {
  const isSuffix = range instanceof SuffixRange;
  if (size === 0 && !isSuffix && range.start === 0) return null;
  const isSatisfied = isSuffix ? size > 0 && range.length > 0 : range.start < size;
  return isSatisfied ? range.contentRange(size) : new UnsatisfiedRange(size);
}

async function makeHeadDigestHeaders(
  fileRequest: FileRequest,
  file: OpenFile,
): Promise<HeadersToSend> {
  const { "digest-length": digits } = fileRequest.request.headers;
  const length = fileRequest.reuse && typeof digits === "string" ? parseDecimal(digits) : -1;
  const digest = makeDigestHeader(
    await findOrComputeDigest(fileRequest, file, true, length < 0 ? null : length),
  );
  return length < 0 || digest["repr-digest"] === undefined
    ? digest
    : { ...digest, "digest-length": `${length}` };
}

async function findOrComputeDigest(
  { request, session, digestCache, warn }: FileRequest,
  file: OpenFile,
  mayCompute: boolean,
  length: number | null = null,
): Promise<string | null> {
  if (!isDigestRequested(request.headers)) return null;
  try {
    if (length !== null) return await digestCache.computePrefix(file, length, session?.signal);
    return mayCompute
      ? await digestCache.findOrCompute(file, session?.signal)
      : digestCache.find(file);
  } catch (error) {
    session?.signal.throwIfAborted();
    warn(unreadableRefusal(error));
    return null;
  }
}

function makeValidatorHeaders({ etag, lastModified }: Validators): HeadersToSend {
  return {
    ...(etag === null ? {} : { etag }),
    ...(lastModified === null ? {} : { "last-modified": formatDate(lastModified) }),
  };
}

/** The maximum length of a body that is read at once, and sent in one write with the preamble. */
const MAX_BUFFERED_BYTES = 32768;

/** Closes the files of bodies that were garbage-collected. Closing a closed file only rejects. */
const garbageFiles = new FinalizationRegistry<FileHandle>((handle) => {
  handle.close().catch(() => {});
});

/**
 * A short body is read at once, and the file is closed. For a longer body, only the first bytes are
 * read at once, so that they are of the version in the headers. The file is closed after the body
 * was sent, canceled, or garbage-collected.
 *
 * The body of an overwritten file is cut, so that a peer can't mistake bytes of two versions for a
 * whole file.
 *
 * @param mayGrow Whether to accept that the file has grown before its first bytes were read. The
 * metadata then have the later time, because the bytes may be newer than `file`, and new content
 * with an old time would count as unchanged.
 * @param onSent Called once, with the number of bytes that were passed on to be sent.
 * @throws {VersionChangedError} if the file was changed before its first bytes were read; the file
 * stays open.
 */
async function makeFileBody(
  file: OpenFile,
  start: number,
  stop: number,
  mayGrow: boolean,
  digestCache: DigestCache | null,
  onSent: (bytes: number) => void,
  reportCut: FileRequest["reportCut"] = (error) => error,
): Promise<{ readonly body: Uint8Array | BodyIter; readonly stats: FileStats }> {
  const { handle } = file;
  const hash = digestCache !== null && start === 0 && stop === file.size ? makeHash() : null;
  // All bytes must be of the version that was opened. The check is synchronous, because the stat of
  // an open file takes less time than a tick of the event loop.
  let expectedStats = file.stats;
  const checkNotOverwritten = () => {
    const currentStats = statOpenFile(handle.fd);
    if (isOverwritten(expectedStats, currentStats, file.path)) throw overwrittenError(file);
    if (hash === null || !isUnchanged(file.stats, currentStats)) return;
    digestCache!.add(file, hash.digest("hex"));
  };
  try {
    const isShort = stop - start <= MAX_BUFFERED_BYTES;
    const bytes = await readUpTo(handle, start, Math.min(stop, start + SERVED_PIECE_BYTES));
    expectedStats = statCurrentVersion(file, mayGrow);
    const stats = expectedStats === file.stats
      ? expectedStats
      : { ...expectedStats, size: file.size };
    if (isShort) {
      if (bytes.length < stop - start) throw overwrittenError(file);
      hash?.update(bytes);
      checkNotOverwritten();
      onSent(bytes.length);
      await handle.close();
      return { body: bytes, stats };
    }
    if (bytes.length === 0) {
      throw new Refusal(409, `${file.path} was truncated before it was read`);
    }
    let position = start;
    const onPiece = (piece: Uint8Array) => {
      hash?.update(piece);
      position += piece.length;
      if (position === stop) checkNotOverwritten();
    };
    const makeTooShortError = () => overwrittenError(file);
    const pieces = readPieces(handle, start, stop, makeTooShortError, {
      onPiece,
      firstPiece: bytes,
    });
    const closingPieces = yieldAndClose(file, pieces, onSent, reportCut);
    garbageFiles.register(closingPieces, handle);
    // Start the generator with its empty first piece: only a started generator closes the file at
    // its end.
    await closingPieces.next();
    // `BodyIter` throws for a sparse file that is longer than any content-length.
    return { body: new BodyIter(closingPieces, stop - start), stats };
  } catch (error) {
    if (error instanceof VersionChangedError) throw error;
    await handle.close();
    throw error instanceof BodyError
      ? new Refusal(409, error.message, {}, { cause: error })
      : withPath(error, "read", file.path);
  }
}

async function readUpTo(handle: FileHandle, start: number, stop: number): Promise<Uint8Array> {
  // With `readPieces`, a file of 30 KB would take 1.5 times as long.
  const bytes = new Uint8Array(stop - start);
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length, start + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}

function statCurrentVersion(file: OpenFile, mayGrow: boolean): FileStats {
  const checkedAt = Date.now();
  const stats = statOpenFile(file.handle.fd);
  if (isUnchanged(file.stats, stats)) return file.stats;
  if (!mayGrow) throw new VersionChangedError(stats, checkedAt);
  if (isOverwritten(file.stats, stats, file.path)) throw overwrittenError(file);
  return stats;
}

function overwrittenError({ path }: OpenFile): BodyError {
  return new BodyError(
    `${printable(path)} was overwritten while it was sent; write to another file and rename that`,
  );
}

/**
 * A piece counts as sent when the next piece is requested. The caller must request the first piece:
 * only a started generator closes the file.
 */
async function* yieldAndClose(
  file: OpenFile,
  pieces: AsyncGenerator<Uint8Array, void, void>,
  onSent: (bytes: number) => void,
  reportCut: FileRequest["reportCut"],
): AsyncGenerator<Uint8Array, void, void> {
  let sentBytes = 0;
  try {
    yield new Uint8Array(0);
    for await (const piece of pieces) {
      yield piece;
      sentBytes += piece.length;
    }
  } catch (error) {
    throw reportCut(withPath(error, "read", file.path));
  } finally {
    await file.handle.close();
    onSent(sentBytes);
  }
}
