import { BodyError, type HeadersToSend, printable } from "../../base.ts";
import { ConnectionError } from "../../client.ts";
import {
  checkBoolean,
  checkFunction,
  checkOptions,
  makeIntegerCheck,
  notAllowedError,
  type OptionChecks,
  wrongTypeError,
} from "../../internal/checks.ts";
import { copyWithMessage, isSystemError } from "../../internal/caught_errors.ts";
import { makeSafeLogger } from "../../base/app/logger.ts";
import { quoteName } from "../../internal/quote.ts";
import { reportedErrors } from "../../internal/error_details.ts";
import { BundleError } from "../wire/bundle.ts";
import { DigestCache, isDigestRequested } from "../wire/digest.ts";
import type { FileEvent, FileLogDetails, FileRequest, FilesSettings } from "./file_request.ts";
import { MAX_DEPTH, parseRequestedPath } from "../wire/file_name.ts";
import { FirstLook } from "./first_look.ts";
import { checkDays, VersionStore } from "../kept_versions.ts";
import { get, loadMime } from "./get.ts";
import { FIXED_MODES_HEADER, formatMode, isModeMaskRequested } from "../wire/metadata.ts";
import { pathOf } from "../options.ts";
import { getBundle } from "./get_bundle.ts";
import { answerOffset, put, remove } from "./put.ts";
import { isUploadStateRequest } from "./put_request.ts";
import { putBundle } from "./put_bundle.ts";
import {
  createDirectory,
  type FileIdentity,
  isFileAtPath,
  makePresenceCheck,
  syncIfPossible,
} from "../disk/names.ts";
import type { ModeSupport } from "../disk/files.ts";
import { dirname, realPathSync, resolve } from "../../internal/paths.ts";
import {
  belongsInLog,
  isInUse,
  missingRootRefusal,
  notFoundRefusal,
  Refusal,
  refusalOf,
  ReuseRefusal,
  unreadableRefusal,
} from "../refusal.ts";
import { Root } from "../root.ts";
import { UploadDisks } from "./unfinished_uploads.ts";
import {
  type Api,
  type AppObject,
  type Logger,
  Request,
  type ResponseTuple,
  type Session,
} from "../../server.ts";

/** The abilities of a {@linkcode FilesApp} beside serving files to GET and HEAD, and its limits. */
export interface FilesOptions {
  /**
   * Whether the response for a path with a trailing slash is the directory's content: a page for
   * browsers, or a JSON array if the request has `accept: application/json`.
   *
   * @default {false}
   */
  list?: boolean | undefined;
  /**
   * Whether peers may write files with PUT, and delete files and empty directories with DELETE: all
   * changes that the program itself may make. Needs `--allow-write` of the directory. With `"add"`
   * they may only add files and directories: the app doesn't replace or delete files, and existing
   * files keep their time.
   *
   * @default {false}
   */
  write?: boolean | "add" | undefined;
  /**
   * Whether to create the directory and its missing parents when the app is created. Needs
   * `--allow-write` of the directory. If the directory is removed later, the next request creates
   * it again, unless its parent directory was replaced or is on another disk. This needs
   * `--allow-read` of the parent directory.
   *
   * @default {false}
   */
  create?: boolean | undefined;
  /**
   * Whether a file that a peer writes gets the permission bits that the peer sends, without the
   * bits that a new file does not get. With `false`, a peer can't make a file executable: a new
   * file gets the usual bits, and a replaced file keeps its bits.
   *
   * @default {true}
   */
  modes?: boolean | undefined;
  /**
   * Whether this app reuses bytes that it already has: a peer requests the digest of a prefix of a
   * file, and then requests the app to copy this prefix to a file that the peer writes. A peer that
   * may write can thus copy every file that this app serves, including files that an app in front
   * of it hides.
   *
   * @default {false}
   */
  reuse?: boolean | undefined;
  /**
   * The number of days, 1 to 36,500, for which each file that a peer replaces or deletes
   * is kept in the reserved directory `.degu-kept` of its disk, which no peer can list, read or
   * write. Of a path that one peer replaces more than once within an hour, the first file is kept.
   * A version stays for at least this number of days, and until this number of later days had
   * changes. Needs `write`.
   *
   * @default {no file is kept}
   */
  keep?: number | undefined;
  /**
   * The maximum length of a written file in bytes. A larger file is refused with `413 Content Too
   * Large`.
   *
   * @default {2⁵³ − 1}
   */
  maxBytes?: number | undefined;
  /**
   * Gets a warning with the reason for each refused write, each request that fails because too many
   * files are open or the directory is missing, each file or directory that the disk can't read,
   * and each response that is cut because of a disk, another process or the peer. The peer gets
   * only the status.
   *
   * @default {the log of the server, at level `info`}
   */
  logger?:
    | Pick<Logger, "warn"> & {
      /** As of every logger; the details of a refused action also have the `refusal`. */
      record?(level: "warn", message: string, details: FileLogDetails): void;
    }
    | undefined;
  /**
   * Called once for each file that was sent to a peer, completely or in part, or that a peer has
   * written or removed, singly or in a bundle; not for lists. A file of up to 32 KiB that is
   * requested singly counts as sent when its response is made. If the function throws, or its
   * promise rejects, the logger gets a warning, and the response stays the same.
   *
   * @default {no function is called}
   */
  onFile?: ((event: FileEvent) => void) | undefined;
}

const CHECKS: OptionChecks<FilesOptions> = {
  list: checkBoolean,
  write: (label, write) => write === "add" || checkBoolean(label, write),
  create: checkBoolean,
  modes: checkBoolean,
  reuse: checkBoolean,
  keep: checkDays,
  maxBytes: makeIntegerCheck(0, Number.MAX_SAFE_INTEGER),
  logger: () => {}, // makeSafeLogger() checks the logger.
  onFile: checkFunction,
};

/**
 * Serves the files below a directory to GET and HEAD; options add lists of directories, and let
 * peers write and delete files. Needs `--allow-read` of the directory, and `--allow-write` with
 * `write`.
 *
 * Each component of a path is the name of a file or directory, percent-encoded as by any client. A
 * path with a trailing slash refers to the `index.html` of a directory, or, with `list`, to its
 * content. Symbolic links are not followed. Single ranges and conditional requests (RFC 9110 §13,
 * §14) are supported, and digests (RFC 9530). A file is read in pieces while it is sent. If it is
 * overwritten in place meanwhile, the body is cut.
 *
 * With `write`, a PUT writes a temporary file, syncs it to the disk, and renames it to the final
 * name: an incomplete file is never visible, and an error leaves only an upload that can be
 * resumed. DELETE removes a file or an empty directory. With `--allow-sys=statfs`, a file that is
 * larger than the free space is refused before its body is read.
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
 * await using server = await Server.start(["127.0.0.1", 0], new FilesApp(directory));
 * using conn = await new Client(server.address).connect();
 * const response = await conn.getRange("/digits.txt", {}, 2, 5);
 * assertEquals(response.status, 206);
 * assertEquals(String(response.headers["content-range"]), "bytes 2-4/10");
 * assertEquals(await response.body?.text(), "234");
 * await Deno.remove(directory, { recursive: true });
 * ```
 */
export class FilesApp implements AppObject {
  /** True: the path of a file is the path below the mount of the app. */
  readonly isMount = true;
  readonly #settings: FilesSettings;
  readonly #logger: ReturnType<typeof makeSafeLogger<"warn">> | null;
  readonly #firstLook: FirstLook;
  #hasWarnedOfTypes = false;
  readonly #onFile: ((event: FileEvent) => void) | undefined;
  /**
   * The parent directory, in which a request may create the missing directory again; `null` if
   * requests may not create it.
   */
  readonly #parentIdentity: FileIdentity | null;
  readonly #versions: VersionStore | null = null;
  #pendingRecreation: Promise<void> | null = null;

  /**
   * Creates an app for a directory. The constructor resolves the path of the directory; the content
   * may change later.
   *
   * @param dir The path, or a `file:` URL, of the directory.
   * @param options The options of the app.
   * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
   * @throws {RangeError} if a value is not allowed, or `keep` is set without `write`.
   * @throws {Deno.errors.NotSupported} with `keep`, if the disk has no hard links.
   * @throws {Deno.errors.NotFound} if `dir` does not exist, `Deno.errors.NotADirectory` if it is a
   * file, `Deno.errors.NotCapable` without the permission to read the directory.
   */
  constructor(dir: string | URL, options: FilesOptions = {}) {
    const checkedOptions = checkOptions(options, CHECKS);
    const { list = false, write = false, modes = true, reuse = false, create } = checkedOptions;
    const { keep, logger, maxBytes, onFile } = checkedOptions;
    if (keep !== undefined && write === false) throw notAllowedError("keep", "needs write: true");
    if (create) createDirectory(pathOf("dir", dir));
    const path = realPathOf(dir);
    // Don't create a read-only directory again: a peer that mirrors the directory would take the
    // empty directory for the deletion of all files.
    this.#parentIdentity = create && write !== false ? findParentIdentity(path) : null;
    this.#logger = logger === undefined ? null : makeSafeLogger(logger, ["warn"]);
    const root = new Root(path);
    this.#firstLook = new FirstLook(path);
    const uploadDisks = new UploadDisks(root, (message) => this.#logger?.warn(message));
    this.#settings = {
      root,
      isRootPresent: makePresenceCheck(path),
      uploadDisks,
      list,
      allow: !write ? "GET, HEAD" : write === "add" ? "GET, HEAD, PUT" : "GET, HEAD, PUT, DELETE",
      write,
      shouldApplyModes: modes,
      reuse,
      maxBytes: maxBytes ?? Number.MAX_SAFE_INTEGER,
      digestCache: new DigestCache(),
    };
    this.#onFile = onFile;
    // The first request for a file reports the error.
    loadMime().catch(() => {});
    if (write !== false) uploadDisks.rootUploads.sweep();
    if (keep === undefined) return;
    this.#versions = new VersionStore(keep, (message) => this.#logger?.warn(message));
    this.#versions.open(path);
  }

  /**
   * Responds with a file, a range of a file, or a list; writes or deletes a file; or refuses the
   * request.
   *
   * @param request The request.
   * @param session The session of the request.
   * @throws {Error} if the file system fails in a way that has no status; the server logs the error
   * and responds with 500.
   */
  async handle(request: Request, session?: Session, _api?: Api): Promise<ResponseTuple> {
    if (!(request instanceof Request)) throw wrongTypeError("request", "a Request", request);
    const [status, reason, headers, body] = await this.#respond(request, session);
    const cacheHeaders = makeCacheHeaders(request, headers);
    const maskHeaders = this.#makeModeMaskHeaders(request);
    return [status, reason, { ...headers, ...cacheHeaders, ...maskHeaders }, body];
  }

  #makeModeMaskHeaders({ headers }: Request): HeadersToSend {
    const { write, shouldApplyModes } = this.#settings;
    if (write === false || !shouldApplyModes || !isModeMaskRequested(headers)) return {};
    const modeSupport = this.#probeModes();
    if (modeSupport === null) return {};
    const { mask, isFixed } = modeSupport;
    return { "file-mode-mask": formatMode(mask), ...isFixed ? FIXED_MODES_HEADER : {} };
  }

  /** Logs to the logger of this app, or else to the server's logger. */
  #warn(
    session: Session | undefined,
    text: string,
    error: unknown,
    refusal?: FileLogDetails["refusal"],
  ): void {
    // A middleware may pass an object of its own in place of the session.
    if (this.#logger === null) {
      return (session as Partial<Session> | undefined)?.warn?.(text, error);
    }
    const who = session === undefined ? null : `${session}`;
    const details = { kind: "app", who, error, ...refusal && { refusal } } as const;
    this.#logger.warn(printable(text), details);
  }

  #warnOfMissingTypes(session: Session | undefined, error: unknown): void {
    if (this.#hasWarnedOfTypes) return;
    this.#hasWarnedOfTypes = true;
    const problem = "the package mime can't be loaded, so all files have the type " +
      "application/octet-stream until the program starts again";
    this.#warn(session, `${problem}: ${error}`, error);
  }

  #probeModes(): ModeSupport | null {
    try {
      return this.#settings.uploadDisks.rootUploads.probeModes();
    } catch {
      // If the disk refuses the test file of `probeModes`, it also refuses each written file.
      return { mask: 0o777, isFixed: false };
    }
  }

  async #respond(request: Request, session?: Session): Promise<ResponseTuple> {
    const { method } = request;
    const action = this.#actionOf(request);
    const isReadRequest = action === get || action === getBundle;
    const warn = (refusal: Refusal, path?: string) => {
      const prefix = path === undefined ? "" : `${path}: `;
      const problem = `${method} ${quoteName(request.uri)}: ${prefix}${refusal.message}`;
      const peer = session === undefined ? "a peer" : session.user ?? session;
      this.#warn(session, `${peer}: ${problem}`, refusal.cause, {
        action: isReadRequest ? "get" : method === "DELETE" ? "delete" : "put",
        path: path?.split("/") ?? parseRequestedPath(request)?.names ?? [],
        status: refusal.status,
        isInUse: isInUse(refusal),
        problem: refusal.message,
      });
    };
    const logCallbackError = (error: unknown) => {
      this.#warn(session, `onFile: ${String(error)}`, error);
    };
    const report: FileRequest["report"] = (event) => {
      try {
        // The types also allow an async function, whose promise no other code awaits.
        const returnValue: unknown = this.#onFile?.({ session, ...event });
        if (returnValue instanceof Promise) returnValue.catch(logCallbackError);
      } catch (error) {
        logCallbackError(error);
      }
    };
    const { isRootPresent } = this.#settings;
    const root = this.#versions === null
      ? this.#settings.root
      : new Root(this.#settings.root.path, this.#versions, session?.user ?? "");
    const reportCut: FileRequest["reportCut"] = (error) => {
      // After the end of the session, any error is only a consequence.
      if (session?.signal.aborted || !(error instanceof Error)) return error;
      const refusal = isRootPresent() ? findCutRefusal(error) : missingRootRefusal(root.path);
      if (refusal === null) return error;
      warn(refusal);
      return reportedErrors.set(removeSystemStack(error) as Error, true);
    };
    try {
      const target = parseRequestedPath(request);
      if (target !== null) {
        const hasAnswered = await this.#firstLook.wait(target, action === remove, request.signal);
        if (!hasAnswered) return [503, "Service Unavailable", {}, null];
      }
      if (this.#pendingRecreation !== null || !isRootPresent()) await this.#recreateDirectory();
      if (action === null) {
        const { allow } = this.#settings;
        throw new Refusal(405, `only ${allow}`, { allow });
      }
      if (action === putBundle && isOfOtherOrigin(request)) {
        throw new Refusal(403, "a web page of another origin sent this bundle");
      }
      if (target === null) {
        throw new Refusal(404, `a path has at most ${MAX_DEPTH} names, each of at most 255 bytes`);
      }
      if (method === "POST" && !target.isDirectory) throw notFoundRefusal();
      const fileRequest = {
        request,
        session,
        target,
        report,
        warn,
        reportCut,
        reportMissingTypes: (error: unknown) => this.#warnOfMissingTypes(session, error),
      };
      return await action({ ...fileRequest, ...this.#settings, root });
    } catch (error) {
      // The directory may have vanished since the request began.
      const refusal = isRootPresent() ? refusalOf(error) : missingRootRefusal(root.path);
      const diskRefusal = refusal !== null || isReadRequest ? null : findDiskRefusal(error);
      if (diskRefusal !== null) {
        // The disk has failed, and not the app.
        warn(diskRefusal);
        return [500, "Internal Server Error", {}, null];
      }
      if (refusal === null) throw removeSystemStack(makeErrorPrintable(error));
      // Don't log reads of missing files. Throw an error of the file system that reading has not
      // converted to a refusal, so that the server logs the error.
      const isLogged = !isReadRequest && !(refusal instanceof ReuseRefusal) ||
        error instanceof BundleError ||
        belongsInLog(refusal) && (refusal === error || refusal.status === 503);
      if (isLogged) warn(refusal);
      else if (refusal !== error) throw removeSystemStack(makeErrorPrintable(error));
      return refusal.makeResponse();
    }
  }

  #recreateDirectory(): Promise<void> {
    const { path } = this.#settings.root;
    const parent = dirname(path);
    return this.#pendingRecreation ??= (async () => {
      if (this.#parentIdentity === null || !isFileAtPath(parent, this.#parentIdentity)) {
        throw missingRootRefusal(path);
      }
      try {
        Deno.mkdirSync(path);
      } catch {
        throw missingRootRefusal(path);
      }
      await syncIfPossible(parent);
    })().finally(() => this.#pendingRecreation = null);
  }

  #actionOf({ method, headers, query }: Request): typeof get | null {
    const { write } = this.#settings;
    if (method === "GET" || method === "HEAD") {
      // A cache may have sent a HEAD as GET.
      return write !== false && isUploadStateRequest(headers) ? answerOffset : get;
    }
    if (method === "POST" && (query === "bundle=get" || query === "bundle=digest")) {
      return getBundle;
    }
    if (write === false) return null;
    if (method === "POST") return query === "bundle=put" ? putBundle : null;
    if (method === "PUT") return put;
    return method === "DELETE" && write !== "add" ? remove : null;
  }
}

/**
 * Reports whether a web page of another origin sent the request. A browser lets each page POST to
 * each origin, without a preflight request.
 */
function isOfOtherOrigin({ headers: { origin, host } }: Request): boolean {
  return origin !== undefined && `${origin}`.replace(/^https?:\/\//, "") !== host;
}

/** The headers of requests whose responses have no use for other requests. */
const VARY = "upload-complete, upload-length, want-repr-digest";

/**
 * Without `cache-control`, a cache or browser may reuse an old response, also a 404, without a
 * request to the server (RFC 9111 §4.2.2). Without `vary`, a cache may respond to a request for a
 * digest with the stored headers of the file, after the server has confirmed them with a 304.
 */
function makeCacheHeaders({ method, headers }: Request, { vary }: HeadersToSend): HeadersToSend {
  if (method !== "GET" && method !== "HEAD") return {};
  const isForOneRequest = isDigestRequested(headers) || isUploadStateRequest(headers);
  return {
    "cache-control": isForOneRequest ? "no-store" : "no-cache",
    vary: vary ? `${VARY}, ${vary}` : VARY,
  };
}

/**
 * Finds the identity of the parent directory; `null` if this program may not read the parent, or
 * the parent is on another disk: a new directory in place of a mount point would fill the parent's
 * disk.
 */
function findParentIdentity(path: string): FileIdentity | null {
  const parent = dirname(path);
  // Query the permission first, because Deno would prompt for it on the terminal.
  const { state } = Deno.permissions.querySync({ name: "read", path: parent });
  if (state !== "granted") return null;
  const parentInfo = Deno.lstatSync(parent);
  return parentInfo.dev === Deno.lstatSync(path).dev ? parentInfo : null;
}

/** Returns `null` for a bug, and for an error of the connection, which the server reports. */
function findCutRefusal(error: Error): Refusal | null {
  if (error instanceof ConnectionError) return null;
  const refusal = refusalOf(error);
  if (refusal !== null) return refusal;
  // Another process has changed the file or the directory.
  if (error instanceof BodyError) return new Refusal(409, error.message, {}, { cause: error });
  return findDiskRefusal(error);
}

/** Returns `null` for errors that the file system has not caused. */
function findDiskRefusal(error: unknown): Refusal | null {
  const isDiskError = isSystemError(error) && !(error instanceof ConnectionError);
  return isDiskError ? unreadableRefusal(error) : null;
}

function realPathOf(dir: string | URL): string {
  const path = pathOf("dir", dir);
  try {
    const realDirectory = realPathSync(path);
    if (Deno.statSync(realDirectory).isDirectory) return realDirectory;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const advice = "make it first (create: true does), or mount its disk";
    const problem = `dir: there is no directory ${quoteName(resolve(path))}; ${advice}`;
    throw copyWithMessage(error, problem);
  }
  throw new Deno.errors.NotADirectory(`dir: ${path} is not a directory`);
}

/**
 * Makes an error safe for a log: the message and the stack of a file system error contain its path.
 */
export function makeErrorPrintable(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const message = printable(error.message);
  if (message === error.message) return error;
  const printableCopy = new Error(message);
  const { name, code, errno } = error as { name: string; code?: unknown; errno?: unknown };
  return Object.assign(printableCopy, {
    name,
    ...(code === undefined ? {} : { code }),
    ...(errno === undefined ? {} : { errno }),
  });
}

/** Removes the stack of an error of the system: the reason is a disk or a limit, and not a bug. */
function removeSystemStack(error: unknown): unknown {
  if (isSystemError(error)) {
    error.stack = `${error.name}: ${error.message}`;
  }
  return error;
}
