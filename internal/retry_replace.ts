import { fileErrorCodeOf } from "./caught_errors.ts";
import { isWindows } from "./system.ts";
import { pause } from "./pause.ts";

const REPLACE_ATTEMPTS = 20;
const REPLACE_RETRY_MILLISECONDS = 30;
/** The codes for the Windows errors ERROR_ACCESS_DENIED and ERROR_SHARING_VIOLATION. */
const FILE_IN_USE_CODES: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EBUSY"]);

export function isFileInUseError(error: unknown): boolean {
  return FILE_IN_USE_CODES.has(fileErrorCodeOf(error));
}

/**
 * Calls a function that replaces a file, and on Windows repeats the call for 0.6 seconds while
 * another program, such as a virus scanner, has the file open.
 */
export async function retryReplace<T>(replace: () => T): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return replace();
    } catch (error) {
      const mayRetry = isWindows() && attempt < REPLACE_ATTEMPTS;
      if (!mayRetry || !isFileInUseError(error)) throw error;
      await pause(REPLACE_RETRY_MILLISECONDS);
    }
  }
}
