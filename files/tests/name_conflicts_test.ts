/**
 * downloadTree and uploadTree: the file or directory that has the name of a copied file when the
 * file is written. The rows are those of the table in `tree/name_conflicts.ts`; the rows of other
 * spellings are in `long/trees_spelling_test.ts`.
 */
import type { TransferError, UploadTreeOptions } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { readTree } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { DIRECTIONS, lastProgress, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";

/** The content of the target's entry, each of another size; `null` for no entry. */
type Entry = "same" | "other" | "latest" | "directory" | null;

interface Row {
  /** The entry before the call. */
  readonly before: Entry;
  /** The entry when the first request of the file arrives; omitted if it doesn't change. */
  readonly later?: Entry;
  readonly options?: UploadTreeOptions;
  /** The directions; by default both, and with `move` only uploads. */
  readonly directions?: readonly TreeDirection[];
  readonly hasNoLists?: boolean;
  /** True if the first response is lost. */
  readonly isResponseLost?: boolean;
  /** `copied`, `unchanged`, or the code of the error. */
  readonly outcome: string;
  readonly largeUploadOutcome?: string;
}

const MOVE = { move: true, settled: 0 } as const;
const KEEP = { replace: false } as const;
const UPLOAD = ["upload"] as const;
const DOWNLOAD = ["download"] as const;

const ROWS: Readonly<Record<string, Row>> = {
  "new: no entry": { before: null, outcome: "copied" },
  "new: no entry, and the response is lost": {
    ...{ before: null, isResponseLost: true },
    outcome: "copied",
  },
  "new: the same content": { before: null, later: "same", outcome: "unchanged" },
  "new: other content": { before: null, later: "other", outcome: "TARGET_CHANGED" },
  "new: other content, replace: false": {
    ...{ before: null, later: "other", options: KEEP },
    outcome: "EXISTS",
  },
  "new: a directory": { before: null, later: "directory", outcome: "IN_THE_WAY" },
  "new, without lists: the same content": {
    ...{ before: "same", hasNoLists: true, directions: UPLOAD },
    outcome: "copied",
  },
  "new, without lists: other content": {
    ...{ before: "other", hasNoLists: true, directions: UPLOAD },
    outcome: "copied",
  },
  "new, without lists: other content, replace: false": {
    ...{ before: "other", hasNoLists: true, directions: UPLOAD, options: KEEP },
    outcome: "EXISTS",
  },
  "listed: the listed file": { before: "other", outcome: "copied" },
  "listed: no entry, at this device": {
    ...{ before: "other", later: null, directions: DOWNLOAD },
    outcome: "copied",
  },
  "listed: no entry, at a server": {
    ...{ before: "other", later: null, directions: UPLOAD },
    outcome: "TARGET_CHANGED",
  },
  "listed: the same content": {
    ...{ before: "other", later: "same" },
    outcome: "unchanged",
    // Such an upload compares the target's file itself.
    largeUploadOutcome: "copied",
  },
  "listed: other content": { before: "other", later: "latest", outcome: "TARGET_CHANGED" },
  "listed: a directory": { before: "other", later: "directory", outcome: "IN_THE_WAY" },
  "listed: the listed file, and the response is lost": {
    ...{ before: "other", isResponseLost: true },
    outcome: "copied",
  },
  "move, new: no entry": { before: null, options: MOVE, outcome: "copied" },
  "move, new: no entry, and the response is lost": {
    ...{ before: null, isResponseLost: true, options: MOVE },
    outcome: "copied",
  },
  "move, new: the same content": {
    ...{ before: null, later: "same", options: MOVE },
    outcome: "copied",
  },
  "move, new: other content": {
    ...{ before: null, later: "other", options: MOVE },
    outcome: "TARGET_CHANGED",
  },
  "move, new: other content, replace: false": {
    ...{ before: null, later: "other", options: { ...MOVE, ...KEEP } },
    outcome: "EXISTS",
  },
  "move, listed: the listed file": { before: "other", options: MOVE, outcome: "copied" },
  "move, listed: the listed file, and the response is lost": {
    ...{ before: "other", isResponseLost: true, options: MOVE },
    outcome: "copied",
  },
  "move, listed: other content": {
    ...{ before: "other", later: "latest", options: MOVE },
    outcome: "TARGET_CHANGED",
  },
  "move, new: a directory": {
    ...{ before: null, later: "directory", options: MOVE },
    outcome: "IN_THE_WAY",
  },
  "move, listed: no entry": {
    ...{ before: "other", later: null, options: MOVE },
    outcome: "TARGET_CHANGED",
  },
  "move, same: the same content": { before: "same", options: MOVE, outcome: "copied" },
  "move, same: other content": {
    ...{ before: "same", later: "other", options: MOVE },
    outcome: "TARGET_CHANGED",
  },
};

/** Replaces the entry of a path. */
function replaceEntry(path: string, entry: Entry, content: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (entry === "directory") Deno.mkdirSync(path);
  else if (entry !== null) Deno.writeTextFileSync(path, textOf(entry, content));
}

const textOf = (entry: Entry, content: string) => entry === "same" ? content : `${entry} text`;

const testRows = Object.entries(ROWS).flatMap(([rule, row]) => {
  const directions = row.directions ?? (row.options?.move ? UPLOAD : DIRECTIONS);
  return directions.flatMap((direction) => [[rule, row, direction] as const]);
});

for (
  const [size, content] of [["small", "content"], ["large", "content".repeat(10_000)]] as const
) {
  Deno.test(`a ${size} file of a tree, by its condition and the target's entry of its name`, async (t) => {
    const rows = testRows.map(([rule, row, direction]) =>
      [`${direction}: ${rule}`, row, direction] as const
    );
    await testEachRow(t, rows, async (_rule, row, direction) => {
      const { before, later = before, options = {}, hasNoLists = false } = row;
      const isLargeUpload = size === "large" && direction === "upload";
      const outcome = isLargeUpload && row.largeUploadOutcome || row.outcome;
      let requests = 0;
      let target = "";
      await using trees = await makeTrees(
        direction,
        { file: content },
        before === null ? {} : { file: textOf(before, content) },
        async ({ method, query, path }, respond) => {
          const isFile = path.at(-1) === "file" && (method === "GET" || method === "PUT") ||
            query === "bundle=get" || query === "bundle=put";
          if (!isFile || ++requests > 1) return null;
          if (later !== before) replaceEntry(target, later, content);
          if (!row.isResponseLost) return null;
          await respond();
          throw new Error("the connection is cut");
        },
        { list: !hasNoLists },
      );
      target = `${trees.target}/file`;
      // A file that has just been written is not moved.
      using _clock = setClockAhead(options.move ? 10_000 : 0);
      const { outcomes, errors, removedPaths, events } = await trees.copy(options);
      const error = errors.file as TransferError | undefined;
      assertEquals(error?.code ?? outcomes.file, outcome, `${error}`);
      const isCopied = error === undefined;
      const [done, total] = lastProgress(events);
      assertEquals(done, isCopied ? total : 0);
      const keptText = later === "directory" ? null : textOf(later, content);
      const keptTree = later === null ? {} : { file: keptText };
      assertEquals(await readTree(trees.target), isCopied ? { file: content } : keptTree);
      const isMoved = isCopied && options.move === true;
      assertEquals(removedPaths, isMoved ? ["file"] : []);
      assertEquals(await readTree(trees.source), isMoved ? {} : { file: content });
    });
  });
}
