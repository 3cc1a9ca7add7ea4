import type { TransferResult, UnsetProperty } from "@degu/degu/files";
import type { Context } from "../machine/context.ts";
import { type ErrorCode, FAILED } from "../failure.ts";
import { isPeerProblem } from "../words/error_codes.ts";
import { formatBytes, formatCount, formatDuration, type Output } from "../terminal/output.ts";
import { type CommandProgress, showProgress } from "../terminal/progress_bar.ts";

/** What a dry run finds in the place of a file; there already: a file of the same size and time. */
export type PlannedState = "new" | "changed" | "there already";

export interface TransferNames {
  readonly from: string;
  readonly to: string;
}

const UNSET_PROBLEMS: Readonly<Record<UnsetProperty, string>> = {
  time: "the content is complete, but the disk refuses the time",
  mode: "the content is complete, but the disk refuses the permission bits",
  privacy: "more users can read or change it than at the source, because the disk refuses the " +
    "permission bits",
};

export class TransferReport implements Disposable {
  /** The target directories of the copied trees. */
  readonly directories = new Set<string>();
  readonly progress: CommandProgress = {
    name: "",
    files: 0,
    totalFiles: 0,
    bytes: 0,
    totalBytes: 0,
    transferredBytes: 0,
    waitsFor: null,
  };
  readonly #output: Output;
  readonly #isDryRun: boolean;
  readonly #isVerbose: boolean;
  readonly #startedAt = performance.now();
  readonly #skippedNames = new Set<string>();
  readonly #unsettledNames = new Set<string>();
  /** The copied or unchanged files of which the disk has refused a property. */
  readonly #unset = new Map<UnsetProperty, { readonly name: string; readonly count: number }>();
  #firstUnchangedName = "";
  readonly #skippedKinds = new Map<string, string>();
  /** The files for which a disk has no space. The first has its own message. */
  readonly #unfittingNames: string[] = [];
  readonly #counts = {
    copied: 0,
    /** Of these, the files whose names are always printed. */
    named: 0,
    copiedBytes: 0,
    /** Of these, the bytes that the target had. */
    presentBytes: 0,
    transferredBytes: 0,
    removed: 0,
    unchanged: 0,
    deleted: 0,
    failed: 0,
    /** Of these, the files that the peer could not read. */
    unread: 0,
  };
  /** Printed in their order at the end, because files are deleted in any order. */
  readonly #deletedNames: string[] = [];
  #bar: Disposable | null;

  constructor({ output, options: { verbose = false } }: Context, isDryRun = false) {
    this.#output = output;
    this.#isVerbose = verbose;
    this.#isDryRun = isDryRun;
    this.#bar = output.json ? null : showProgress(output, this.progress);
  }

  hideProgress(): void {
    this.#bar?.[Symbol.dispose]();
    this.#bar = null;
  }

  skip(name: string, reason: string): void {
    if (this.#skippedNames.has(name)) return;
    this.#skippedNames.add(name);
    this.#output.warn(`${name}: skipped: ${reason}`);
  }

  skipOther(name: string, kind: string): void {
    this.#skippedNames.add(name);
    if (this.#isVerbose) this.#output.hint(`${name}: skipped: ${kind}`);
    else this.#skippedKinds.set(name, kind);
  }

  skipUnsettled(name: string): void {
    this.#skippedNames.add(name);
    this.#unsettledNames.add(name);
  }

  fail(
    name: string,
    message: string,
    code: ErrorCode,
    object: Readonly<Record<string, unknown>>,
    error?: unknown,
  ): void {
    this.#counts.failed++;
    if (isPeerProblem(error)) this.#counts.unread++;
    // On a full disk, thousands of files may fail: report the first, and later count the others.
    if (code !== "FULL" || this.#unfittingNames.push(name) === 1) {
      // Messages about a path on the disk begin with the path.
      const isNamed = message.includes(JSON.stringify(name));
      this.#output.error(isNamed ? message : `${name}: ${message}`);
    }
    if (this.#output.json) this.#output.printResult("", { ...object, error: { code, message } });
  }

  reportUnchanged(names: TransferNames | null): void {
    this.#counts.unchanged++;
    this.#firstUnchangedName ||= names?.to ?? "";
    if (names !== null && this.#output.json) this.#printResult("", { ...names, unchanged: true });
  }

  uncountUnchanged(count: number): void {
    this.#counts.unchanged -= count;
  }

  noteUnset(property: UnsetProperty, name: string, count = 1): void {
    const { name: firstName, count: otherCount } = this.#unset.get(property) ?? { name, count: 0 };
    this.#unset.set(property, { name: firstName, count: otherCount + count });
  }

  /** @param isNamed True if the command line names the file itself, not only its directory. */
  reportCopied(
    { from, to }: TransferNames,
    { bytes, total, resumedFrom, reused, sha256 }: Omit<TransferResult, "unset">,
    isNamed: boolean,
  ): void {
    this.#counts.copied++;
    if (isNamed) this.#counts.named++;
    this.#counts.copiedBytes += total;
    this.#counts.presentBytes += resumedFrom + reused;
    if (!isNamed && !this.#isVerbose && !this.#output.json) return;
    this.#printResult(to, { from, to, bytes, total, resumedFrom, reused, sha256 });
  }

  reportPlannedCopy({ from, to }: TransferNames, size: number, state: PlannedState): void {
    this.#counts.copied++;
    this.#counts.copiedBytes += size;
    if (state === "there already") this.#counts.presentBytes += size;
    const replaces = state === "changed";
    const object = { action: "copy", from, to, size, replaces, dryRun: true };
    this.#printResult(`would copy ${from} to ${to} (${state}, ${formatBytes(size)})`, object);
  }

  reportRemoved(name: string): void {
    this.#counts.removed++;
    if (this.#output.json) this.#printResult("", { removed: name });
  }

  addTransferredBytes(bytes: number): void {
    this.#counts.transferredBytes += bytes;
  }

  reportDeleted(name: string): void {
    this.#counts.deleted++;
    this.#deletedNames.push(name);
  }

  #printResult(text: string, object: Record<string, unknown>): void {
    if (!this.#output.quiet || this.#output.json) this.#output.printResult(text, object);
  }

  /** The numbers of a download. */
  get totals(): { readonly stored: number; readonly unread: number; readonly unstored: number } {
    const { copied, unchanged, failed, unread } = this.#counts;
    return { stored: copied + unchanged, unread, unstored: failed - unread };
  }

  finish(): number {
    this.summarize(false);
    return this.#counts.failed === 0 ? 0 : FAILED;
  }

  /** @param isEnded True if an error has ended the command early. */
  summarize(isEnded: boolean): void {
    this[Symbol.dispose]();
    const [deletedText, dryRun] = this.#isDryRun
      ? ["would delete", { dryRun: true }]
      : ["deleted", {}];
    for (const name of this.#deletedNames.splice(0).sort()) {
      this.#printResult(`${deletedText} ${name}`, { action: "delete", path: name, ...dryRun });
    }
    const [firstSkipped, ...moreSkipped] = this.#skippedKinds;
    if (firstSkipped !== undefined) {
      const [name, kind] = firstSkipped;
      const count = moreSkipped.length;
      const moreText = count === 1 ? "another such entry" : `${count} other such entries`;
      this.#output.hint(
        count === 0
          ? `${name}: skipped: ${kind}`
          : `${name}, and ${moreText}: skipped: links and special files are not copied`,
      );
    }
    if (this.#unsettledNames.size > 0) {
      // A repeated run prints only other messages than the run before.
      const [firstName] = [...this.#unsettledNames].sort();
      const names = nameFiles(firstName!, this.#unsettledNames.size);
      const reason = "still being written, or modified just now; a later run copies it";
      this.#output.warn(`${names}: skipped: ${reason}`);
    }
    for (const [property, { name, count }] of this.#unset) {
      this.#output.warn(`${nameFiles(name, count)}: ${UNSET_PROBLEMS[property]}`);
    }
    const { copied, removed, unchanged, deleted, failed } = this.#counts;
    const isEmpty = !isEnded &&
      copied + unchanged + deleted + failed + this.#skippedNames.size === 0;
    // A dry run doesn't tell the files whose times or permission bits alone would change.
    const unchangedText = this.#isDryRun ? "not to copy" : "up to date";
    const parts = [
      copied > 0 ? this.#describeCopied() : isEmpty ? "no file to copy" : "",
      removed > 0 ? `${removed} removed from this device` : "",
      unchanged > 0
        ? `${unchanged} ${unchangedText}${copied > 0 ? "" : this.#describeUnchanged()}`
        : "",
      deleted > 0 ? `${deleted} ${this.#isDryRun ? "would be " : ""}deleted` : "",
      this.#skippedNames.size > 0 ? `${this.#skippedNames.size} skipped` : "",
    ].filter((part) => part !== "");
    const failures = failed > 1 ? `${formatCount(failed, "error")}: see above` : "";
    this.#output.printSummary(parts.join("; "), failures, copied + deleted > 0);
  }

  get #onlyDirectory(): string | null {
    const [directory = null] = this.directories;
    return this.directories.size === 1 ? directory : null;
  }

  #describeUnchanged(): string {
    if (this.#onlyDirectory !== null) return ` in ${this.#onlyDirectory}`;
    const name = this.#firstUnchangedName;
    return name === "" ? "" : `: ${nameFiles(name, this.#counts.unchanged)}`;
  }

  #describeCopied(): string {
    const { copied, named, copiedBytes, presentBytes, transferredBytes } = this.#counts;
    const filesText = formatCount(copied, "file");
    const directory = named === 0 ? this.#onlyDirectory : null;
    const target = directory === null ? "" : ` into ${directory}`;
    // Parts of interrupted transfers, renamed files and copies of other files aren't sent.
    const presentText = presentBytes === 0 ? "" : ` (${formatBytes(presentBytes)} were there)`;
    if (this.#isDryRun) {
      return `${filesText} would be copied${target}, ${formatBytes(copiedBytes)}${presentText}`;
    }
    const copiedText = `${filesText} copied${target}`;
    if (transferredBytes === 0 && copiedBytes > 0) return `${copiedText}${presentText}`;
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const timeText = transferredBytes > 0 ? ` in ${formatDuration(seconds)}` : "";
    return `${copiedText}, ${formatBytes(transferredBytes)}${timeText}${presentText}`;
  }

  [Symbol.dispose](): void {
    this.hideProgress();
    const [, name, ...moreNames] = this.#unfittingNames.splice(0);
    if (name === undefined) return;
    this.#output.error(`${nameFiles(name, moreNames.length + 1)}: also failed for lack of space`);
  }
}

function nameFiles(firstName: string, count: number): string {
  return count === 1 ? firstName : `${firstName}, and ${formatCount(count - 1, "other file")}`;
}
