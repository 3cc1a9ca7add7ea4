/**
 * What peers do with files, for the program that serves them.
 *
 * @module
 */

import type { Session } from "../base/app/session.ts";

/** A file that was sent to a peer, written by one, or removed by one. */
export interface FileEvent {
  /** Whose request it was; `undefined` if the app was called without a session. */
  readonly session: Session | undefined;
  /** `"get"` for a file that was sent, `"put"` for one that was written, `"delete"` for one that was removed. */
  readonly action: "get" | "put" | "delete";
  /** The names from the app's directory to the file. */
  readonly path: readonly string[];
  /** Bytes that were sent, or that the written file has; 0 for a removed one. */
  readonly bytes: number;
  /** False if the peer left, or the file changed, before all that was requested had been sent. */
  readonly complete: boolean;
  /** The status of the response, or of the file's record in a bundle. */
  readonly status: number;
}

/** Reports a file of a request. Never throws. */
export type Report = (
  action: FileEvent["action"],
  path: readonly string[],
  bytes: number,
  complete: boolean,
  status: number,
) => void;

/**
 * Makes what reports the files of a request.
 *
 * @param fail Called with what `onFile` throws.
 */
export function makeReport(
  onFile: ((event: FileEvent) => void) | undefined,
  session: Session | undefined,
  fail: (error: unknown) => void,
): Report {
  return (action, path, bytes, complete, status) => {
    try {
      onFile?.({ session, action, path, bytes, complete, status });
    } catch (error) {
      fail(error);
    }
  };
}
