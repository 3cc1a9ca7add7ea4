/** Trees and cases as short texts. */

import type { Case, Options, Script, ScriptedChange } from "./cases.ts";
import { contentOf, type Plan } from "./disk.ts";

/** The time of all files, in milliseconds. */
const TIME = 1_600_000_000_000;
/** The sizes of files: in a request with others, and in a request of its own. */
const SMALL_BYTES = 100, LARGE_BYTES = 70_000;

const ENTRY =
  /^(?<path>.+?)(?<kind>\/|\||->(?<link>.*))?(?:=(?<version>\w+))?(?<size>\*\d*)?(?:@(?<age>-?\d+))?(?::(?<mode>[0-7]+))?$/;

/**
 * Makes the tree of a text, whose words are entries: `a` is a file of 100 bytes with the content
 * `a`, `a=b` a file with the content `b`, `a*` a file of 70,000 bytes, `a*5` a file of 5 bytes,
 * `a@3000` a file that is 3000 ms younger than the others, and `a:600` a file of this mode; `d/` is
 * a directory, `l->a` a link, and `f|` a FIFO. A content is the same in each size up to its end.
 */
export function parseTree(text: string): Plan & { kind: "directory" } {
  const root = makeDirectory();
  for (const word of text.split(" ").filter(Boolean)) {
    const { path = "", kind = "", link = "", version, size, age, mode } = ENTRY.exec(word)!.groups!;
    const names = path.split("/"), name = names.at(-1)!;
    let parent = root;
    for (const each of kind === "/" ? names : names.slice(0, -1)) {
      if (!parent.entries.has(each)) parent.entries.set(each, makeDirectory());
      parent = parent.entries.get(each) as typeof root;
    }
    if (kind === "/") parent.mode = parseInt(mode ?? "755", 8);
    else if (kind === "|") parent.entries.set(name, { kind: "fifo" });
    else if (kind !== "") parent.entries.set(name, { kind: "link", target: link });
    else {
      parent.entries.set(name, {
        kind: "file",
        id: idOf(version ?? name),
        size: size === undefined ? SMALL_BYTES : Number(size.slice(1) || LARGE_BYTES),
        modified: TIME + Number(age ?? 0),
        mode: parseInt(mode ?? "644", 8),
      });
    }
  }
  return root;
}

function makeDirectory() {
  return {
    kind: "directory" as const,
    mode: 0o755,
    unnamed: false,
    entries: new Map<string, Plan>(),
  };
}

/** Returns the bytes of a file with a content. */
export function textContent(version: string, isLarge = false): Uint8Array<ArrayBuffer> {
  return contentOf(idOf(version), isLarge ? LARGE_BYTES : SMALL_BYTES);
}

/** Returns a number for a content (FNV-1a). */
function idOf(version: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(version)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** A rule, and a case that shows it. */
export interface Row {
  readonly rule: string;
  readonly text: string;
  /** The case in each direction. */
  readonly cases: readonly Case[];
  readonly needsUnix: boolean;
}

/**
 * Parses rows: a line with a rule, and lines `source >> target, options` with its cases. Options
 * are `delete`, `hide=a,file:b`, …; `reuse`, `write=add` and `list=false` are
 * options of the server, and with `missing` the target doesn't exist. A row with `unix` needs
 * links, FIFOs, permission bits, or names that Windows doesn't have.
 *
 * A row with `move` or `late` is only an upload. `late` aborts the call, and delays its first
 * request with a file or for a deletion until another call has written newer files. `lost=response`
 * loses the first response to each URI, and `cut=response` all responses before the first retry.
 * `stored=append:a` appends to the source's file `a` when the server has it. `refuse=403:b` refuses
 * the file `b`, and `refuse=413` each request with files. A row with `lies` is only a download,
 * with each lie once. `sent=write:a` writes the target's file `a` when its request arrives, and
 * `pause=write:a` in the first pause.
 */
export function parseRows(lines: string): Row[] {
  let rule = "";
  return lines.trim().split("\n").map((line) => line.trim()).filter(Boolean).flatMap((line) => {
    const [, source, target, words = ""] = /^(.*?) ?>> ?(.*?)(?:, (.*))?$/.exec(line) ?? [];
    if (source === undefined) {
      rule = line;
      return [];
    }
    const settings = new Map(words.split(" ").map((word) => word.split("=") as [string, string]));
    const script = parseScript(settings);
    const cases = directionsOf(script).map(
      (download): Case => ({
        ...PLAIN,
        download,
        script,
        reuse: settings.has("reuse"),
        targetMissing: settings.has("missing"),
        trees: { source, target: target! },
        options: {
          ...PLAIN.options,
          compare: settings.get("compare") as Options["compare"] ?? "time",
          replace: settings.get("replace") !== "false",
          modes: settings.get("modes") !== "false",
          delete: settings.has("delete"),
          deleteAll: settings.has("deleteAll"),
          retries: settings.get("retries") === "2" ? 2 : 0,
          hidden: { names: settings.get("hide")?.split(",") ?? [], kind: null },
        },
      }),
    );
    return [{ rule, text: line, cases, needsUnix: settings.has("unix") }];
  });
}

/** Returns whether a row is a download, for each of its cases. */
function directionsOf({ move, isLate, lies }: Script): boolean[] {
  if (lies !== null) return [true];
  return move || isLate ? [false] : [true, false];
}

function parseScript(settings: ReadonlyMap<string, string>): Script {
  const changes = (["sent", "stored", "pause"] as const).flatMap((moment) =>
    (settings.get(moment)?.split(",") ?? []).map((change): ScriptedChange => {
      const [what, path] = change.split(":") as [ScriptedChange["what"], string];
      return { moment, side: what === "write" ? "target" : "source", what, path };
    })
  );
  const [status, refusedPaths] = settings.get("refuse")?.split(":") ?? [];
  return {
    move: settings.has("move"),
    write: settings.get("write") === "add" ? "add" : true,
    list: settings.get("list") !== "false",
    changes,
    lost: (settings.get("lost") ?? settings.get("cut") ?? null) as Script["lost"],
    isCutUntilPause: settings.has("cut"),
    isLate: settings.has("late"),
    lies: (settings.get("lies")?.replace(":", "=") ?? null) as Script["lies"],
    refused: status === undefined
      ? null
      : { status: Number(status), paths: refusedPaths?.split(",") ?? null },
  };
}

/** The script of an undisturbed move. */
export const MOVE = parseScript(new Map([["move", ""]]));

const PLAIN: Omit<Case, "download"> = {
  reuse: false,
  connection: false,
  place: "t",
  linked: false,
  targetMissing: false,
  sourceEmpty: false,
  pairs: [],
  options: {
    compare: "time",
    replace: true,
    modes: true,
    delete: false,
    connections: 4,
    retries: 0,
    deleteAll: false,
    hidden: { names: [], kind: null },
  },
  fault: { is: "nothing" },
};
