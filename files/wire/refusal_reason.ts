import { NAME_PROBLEM_TEXTS, type NameProblem } from "../disk/file_names.ts";
import { isBadNameError } from "../disk/names.ts";
import { isFileInUseError } from "../../internal/retry_replace.ts";

type RefusalReason =
  | NameProblem
  /** The path is a symbolic link, or leads through one. */
  | "link"
  /** The file system of the target doesn't accept the name. */
  | "name"
  | "name-reserved"
  /** Another program has the file open, or this user may not access the file. */
  | "open"
  /** Deletions were not tested on the operating system of the server. */
  | "no-deletions"
  /**
   * The refusal concerns a file system that is mounted below the served directory, and not the file
   * system of this directory.
   */
  | "other-disk"
  | "root-gone"
  /** The disk has space for the bytes of the file, but not for another file. */
  | "file-limit";

/** The form of every reason that this version or a later version sends. */
export const REASON_PATTERN = /^[a-z][a-z-]{0,31}$/;

export function makeReasonHeader(
  reason: string | undefined,
): { readonly "refusal-reason"?: string } {
  return reason === undefined ? {} : { "refusal-reason": reason };
}

export function findReason(headers: Readonly<Record<string, unknown>> = {}): string | undefined {
  const { "refusal-reason": reason } = headers;
  return typeof reason === "string" && REASON_PATTERN.test(reason) ? reason : undefined;
}

export function findSystemReason(error: unknown): RefusalReason | undefined {
  if (Deno.build.os === "windows" && isFileInUseError(error)) return "open";
  return isBadNameError(error) ? "name" : undefined;
}

const NAME_REASON_TEXTS: Readonly<Record<string, string>> = {
  ...NAME_PROBLEM_TEXTS,
  "name": "is refused by its file system",
  "name-reserved": "is reserved for unfinished files",
};

export function describeNameReason(reason: string | undefined): string | null {
  if (reason === undefined || !/^name(?:-|$)/.test(reason)) return null;
  return NAME_REASON_TEXTS[reason] ?? NAME_REASON_TEXTS["name"]!;
}
