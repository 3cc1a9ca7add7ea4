/**
 * Why a file could not be moved, in the terms of the program.
 *
 * @module
 */

import { EmptyPreambleError, TlsError } from "../base.ts";
import { isTransient, TransferError } from "../files.ts";
import { explain } from "./failure.ts";

/** A file that is left as it is, and why. */
export class NotMoved extends Error {
  /** The name of the class. */
  override readonly name: string = "NotMoved";
}

/** The error of a file that would replace another one. */
export function alreadyThere(): NotMoved {
  return new NotMoved(ALREADY_THERE);
}

const IS_ELSEWHERE = "it is a directory by now: run the same command again";

/** What the statuses mean if the peer was asked to send a file. */
const GET_PROBLEMS: Readonly<Record<number, string>> = {
  301: IS_ELSEWHERE,
  302: IS_ELSEWHERE,
  303: IS_ELSEWHERE,
  307: IS_ELSEWHERE,
  308: IS_ELSEWHERE,
  403: "the peer may not read it",
  404: "it is not there any more",
};

const ALREADY_THERE = "another file of this name is there: replace it with --force";

/** What the statuses mean if a file was sent to the peer. */
const PUT_PROBLEMS: Readonly<Record<number, string>> = {
  403: "the peer refuses it: the name is reserved, or its inbox can't be written",
  404: "the peer refuses the name, or takes no files any more",
  409: "a directory has this name there, or a file has that of its directory",
  412: ALREADY_THERE,
  413: "it is larger than the peer accepts",
  414: "its path is too long for the peer",
  507:
    "the peer has no space left, or its quota is reached: free some there and run the same command again",
};

/** What the statuses mean if the peer was asked to delete something. */
const DELETE_PROBLEMS: Readonly<Record<number, string>> = {
  403: "the peer refuses it: the name is reserved, or its inbox can't be written",
  404: "it is not there any more",
  409: "the directory is not empty: remove first what is in it",
};

/** The advice of the library for programs: this one always verifies. */
const PROGRAMMERS_ADVICE = /[;:] call again with verify: false to skip the check$/;

const PROBLEMS = { get: GET_PROBLEMS, put: PUT_PROBLEMS, delete: DELETE_PROBLEMS };

/** What was to be done with a file. */
export type Direction = keyof typeof PROBLEMS;

/** Says why a file could not be moved, and what to do. */
export function explainTransfer(error: unknown, direction: Direction): string {
  if (error instanceof NotMoved) return error.message;
  if (!(error instanceof TransferError)) return explain(error);
  switch (error.code) {
    case "STATUS":
      return PROBLEMS[direction][error.status ?? 0] ?? error.message;
    case "DISK_FULL":
      return "this device has no space left, or its quota is reached: free some and run the same command again";
    case "CHANGED":
      return "it changed while it was copied: run the same command again";
    case "DIGEST_MISMATCH":
      return "what arrived is not what was sent: run the same command again";
    case "IN_USE":
      return "another download to the same file is under way: wait for it";
    case "UNEXPECTED_RESPONSE":
      return error.message.replace(
        PROGRAMMERS_ADVICE,
        "; is another version of degu running there?",
      );
    default:
      return error.message;
  }
}

/** Whether after an error the next file would fail as well: the peer can't be reached, or a disk is full. */
export function endsAll(error: unknown): boolean {
  if (error instanceof TransferError && (error.code === "DISK_FULL" || error.status === 507)) {
    return true;
  }
  return isTransient(error) || error instanceof TlsError || error instanceof EmptyPreambleError;
}
