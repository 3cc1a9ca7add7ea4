import { statusOf } from "../../base/app/app_result.ts";
import type { HeadersToSend } from "../../base.ts";
import {
  type LogDetails,
  type Request,
  ResponseError,
  type ResponseTuple,
  type Session,
} from "../../server.ts";
import type { DigestCache } from "../wire/digest.ts";
import type { RequestedPath } from "../wire/file_name.ts";
import { Refusal } from "../refusal.ts";
import type { Root } from "../root.ts";
import type { UploadDisks } from "./unfinished_uploads.ts";

/**
 * The time after which a response sends the bytes that it has, even if they are few. A client takes
 * a longer silence for a lost connection.
 */
export const MAX_SILENCE_MILLISECONDS = 1000;

/** A file that was sent to a peer, or that a peer has written or removed. */
export interface FileEvent {
  /** The session of the request; `undefined` if the app was called without a session. */
  readonly session: Session | undefined;
  /**
   * `"get"` for a file that was sent, `"put"` for a written file, `"delete"` for a removed file.
   */
  readonly action: "get" | "put" | "delete";
  /** The names from the app's directory to the file. */
  readonly path: readonly string[];
  /** The number of bytes that were sent, or the size of the written file; 0 for a removed file. */
  readonly bytes: number;
  /** False if the peer disconnected, or the file changed, before all requested bytes were sent. */
  readonly complete: boolean;
  /** The status of the response, or of the file's record in a bundle. */
  readonly status: number;
}

/**
 * The details of a log line of a `FilesApp`, as data. The text of the line begins with
 * `session.user`, if there is one.
 */
export interface FileLogDetails extends LogDetails {
  /** The action on a file that the app has refused; left out of all other lines. */
  readonly refusal?: {
    /** The requested action. */
    readonly action: "get" | "put" | "delete";
    /** The names from the directory of the app to the file; empty for an invalid path. */
    readonly path: readonly string[];
    /** The status of the response, or of one file in a bundle. */
    readonly status: number;
    /** True if another request or process is changing the file: the client can try again. */
    readonly isInUse: boolean;
    /**
     * The reason, without the peer and the path. Reasons are for reading, and may change in any
     * version.
     */
    readonly problem: string;
  };
}

export interface FilesSettings {
  readonly root: Root;
  readonly isRootPresent: () => boolean;
  readonly uploadDisks: UploadDisks;
  readonly list: boolean;
  /** The value of the header `allow` (RFC 9110 §10.2.1). */
  readonly allow: string;
  readonly write: boolean | "add";
  readonly shouldApplyModes: boolean;
  readonly reuse: boolean;
  readonly maxBytes: number;
  readonly digestCache: DigestCache;
}

export interface FileRequest extends FilesSettings {
  readonly request: Request;
  readonly session: Session | undefined;
  readonly target: RequestedPath;
  /** Never throws. */
  readonly report: (event: Omit<FileEvent, "session">) => void;
  readonly warn: (refusal: Refusal, path?: string) => void;
  /**
   * Reports an error that cuts the body of a response, unless it is a bug: the server then doesn't
   * report the error of a disk, of another process or of the peer as an error of the app.
   *
   * @returns The error, to be thrown.
   */
  readonly reportCut: (error: unknown) => unknown;
  /** Reports that the package with the types of names can't be loaded. */
  readonly reportMissingTypes: (error: unknown) => void;
}

/**
 * Checks, right before a change that can't be undone, that the peer is still trusted. An anonymous
 * peer has no trust that could end: the server has accepted it without a condition.
 */
export async function checkTrust(session: Session | undefined): Promise<void> {
  if (session === undefined) return;
  if (session.user === null && session.peerCertificate === null) return;
  try {
    await session.ifTrusted(() => {});
  } catch (error) {
    const isUnknown = error instanceof ResponseError && statusOf(error.response) === 503;
    if (!isUnknown) throw new Refusal(403, "the peer is no longer trusted");
    throw new Refusal(503, `${error}`, {}, { cause: error });
  }
}

export function makeWriteResponse(isCreated: boolean, headers: HeadersToSend): ResponseTuple {
  return isCreated ? [201, "Created", headers, null] : [204, "No Content", headers, null];
}
