/**
 * The log of namings: with `keep`, each file that gets or loses a name adds a line of JSON to the
 * file `namings.jsonl` of the day's directory in `.degu-kept`. {@linkcode restoreTree} undoes the
 * lines, which are removed with the versions of their day.
 *
 * A line is written before its naming, so that a kill leaves a line without a naming, and not a
 * naming without a line. Undoing a line without a naming changes no content: the kept version is
 * the file that still has its name. A naming that fails adds a line that cancels the first.
 */

/** The name of the log in the directory of a day, where the names of directories have a `_`. */
export const NAMING_LOG_NAME = "namings.jsonl";

export type Naming =
  /** A path that had no file gets one. */
  | { readonly what: "create"; readonly path: string }
  /** `version` is the directory of the kept file, below `.degu-kept`; `null` if it wasn't kept. */
  | { readonly what: "replace"; readonly path: string; readonly version: string | null }
  | { readonly what: "delete"; readonly path: string; readonly version: string }
  /** A path that had no file gets the file of the path `from`. */
  | { readonly what: "rename"; readonly path: string; readonly from: string }
  /** The last naming of the path has failed. */
  | { readonly what: "cancel"; readonly path: string };

/** Namings since a time may have no line. */
interface Gap {
  readonly what: "gap";
  readonly since: string;
}

/** A line of a log. */
export type NamingLine = { readonly time: string; readonly by: string } & (Naming | Gap);

/** Appends to the logs of one or several disks. */
export class NamingLog {
  readonly #warn: (message: string) => void;
  /** The times of the first lines that couldn't be written, by directory of the versions. */
  readonly #gaps = new Map<string, string>();

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  /**
   * Never throws: a naming doesn't fail because its line can't be written. The next line that can
   * be written names the gap.
   *
   * @param keptDirectory The existing directory of the versions.
   * @returns The paths to sync.
   */
  append(
    keptDirectory: string,
    { day, time, by, naming }: {
      readonly day: string;
      readonly time: Date;
      readonly by: string;
      readonly naming: Naming;
    },
  ): readonly string[] {
    const directory = `${keptDirectory}/${day}`;
    const path = `${directory}/${NAMING_LOG_NAME}`;
    const now = time.toISOString();
    const since = this.#gaps.get(keptDirectory);
    const lines: NamingLine[] = since === undefined ? [] : [{ time: now, by, what: "gap", since }];
    lines.push({ time: now, by, ...naming });
    // A line begins with its line feed: a line that another process couldn't finish stays alone.
    const bytes = new TextEncoder().encode(
      lines.map((line) => `\n${JSON.stringify(line)}`).join(""),
    );
    try {
      const isNew = appendBytes(path, bytes);
      this.#gaps.delete(keptDirectory);
      return isNew ? [path, directory, keptDirectory] : [path];
    } catch (error) {
      if (since === undefined) {
        this.#gaps.set(keptDirectory, now);
        this.#warn(`the log of namings can't be written, so a restore is less exact: ${error}`);
      }
      return [];
    }
  }
}

/** Appends by one write. Returns true if the file is new. */
function appendBytes(path: string, bytes: Uint8Array): boolean {
  let isNew = false;
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { append: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    isNew = true;
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    file = Deno.openSync(path, { append: true, create: true, mode: 0o600 });
  }
  using openFile = file;
  if (openFile.writeSync(bytes) < bytes.length) throw new Error("the line was written in part");
  return isNew;
}

/**
 * Reads the log of a day, in the order in which its lines were written. Lines that are damaged, or
 * that were written in part, are left out.
 */
export function readNamingLog(directory: string): {
  readonly lines: readonly NamingLine[];
  /** False if there is no log, because the day has only versions. */
  readonly exists: boolean;
} {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(`${directory}/${NAMING_LOG_NAME}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { lines: [], exists: false };
    throw error;
  }
  using openFile = file;
  const lines: NamingLine[] = [];
  for (const text of readLines(openFile)) {
    const line = parseLine(text);
    if (line !== null) lines.push(line);
  }
  return { lines, exists: true };
}

const PIECE_BYTES = 65_536;

/** Reads in pieces: a log can be longer than a string. */
function* readLines(file: Deno.FsFile): Generator<string, void, void> {
  const decoder = new TextDecoder();
  const piece = new Uint8Array(PIECE_BYTES);
  let rest = "";
  for (let length; (length = file.readSync(piece)) !== null;) {
    const texts = decoder.decode(piece.subarray(0, length), { stream: true }).split("\n");
    texts[0] = rest + texts[0];
    rest = texts.pop()!;
    yield* texts;
  }
  yield rest + decoder.decode();
}

const TEXT_FIELDS: Readonly<Record<NamingLine["what"], readonly string[]>> = {
  create: ["path"],
  replace: ["path"],
  delete: ["path", "version"],
  rename: ["path", "from"],
  cancel: ["path"],
  gap: ["since"],
};

function parseLine(text: string): NamingLine | null {
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof line !== "object" || line === null) return null;
  const { what, time } = line;
  if (typeof what !== "string" || !Object.hasOwn(TEXT_FIELDS, what)) return null;
  const fields = TEXT_FIELDS[what as NamingLine["what"]];
  if (fields.some((field) => typeof line[field] !== "string")) return null;
  if (what === "replace" && line.version !== null && typeof line.version !== "string") return null;
  const times = what === "gap" ? [time, line.since] : [time];
  if (times.some((each) => Number.isNaN(Date.parse(`${each}`)))) return null;
  return line as unknown as NamingLine;
}
