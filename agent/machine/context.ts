import type { Address } from "@degu/degu/base";
import type { Output } from "../terminal/output.ts";

export interface Context {
  /** The absolute path of the directory of the device. */
  readonly home: string;
  readonly output: Output;
  /** Aborted by the first SIGINT, SIGTERM or SIGHUP. */
  readonly signal: AbortSignal;
  readonly options: CommonOptions;
  /** Lets Deno ask for a permission. No listener runs meanwhile, so signals end the process. */
  readonly askDeno?: ((permission: Deno.PermissionDescriptor) => void) | undefined;
  /** The name of the last peer of this command, which `--json` prints in errors without a peer. */
  peer?: string;
}

export interface CommonOptions {
  readonly home?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly address?: Address;
  readonly find?: boolean;
  /** Seconds to wait for a peer that is offline. */
  readonly wait?: number;
  readonly verbose?: boolean;
  readonly name?: string;
  readonly as?: string;
  readonly exclude?: readonly string[];
}

/** Shells don't expand this path in `--inbox=~/Inbox`. */
export const DEFAULT_INBOX = "~/Inbox";

/** The operand that names stdin or stdout. `./-` names a file. */
export const STDIO = "-";

export const IGNORE_FILE = ".deguignore";

/** What `degu serve --keep` keeps. */
export const VERSIONS_OF_PEERS =
  "one to twelve versions an hour of each file that one peer replaces, and each file that a peer deletes";

/** The directory of a `FilesApp` for unfinished files, which no peer can list, read or write. */
export const RESERVED_DIRECTORY = ".degu-files";
/** The directory of the earlier versions, which a peer can read below its own inbox. */
export const KEPT_DIRECTORY = ".degu-kept";
