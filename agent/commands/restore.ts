import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { RestoreError, type RestoreEvent, type RestoreResult, restoreTree } from "@degu/degu/files";
import { type Context, KEPT_DIRECTORY } from "../machine/context.ts";
import { explain } from "../words/explain.ts";
import { FAILED, Failure } from "../failure.ts";
import { checkOutsideInbox } from "../machine/inbox_marker.ts";
import {
  findDeviceDirectory,
  findKeepingDirectory,
  ignoreNotFound,
  resolveRealPath,
  toLocalPath,
} from "../machine/local_paths.ts";
import { formatBytes, formatCount, type Output } from "../terminal/output.ts";
import { join, relative, resolve } from "../machine/paths.ts";
import { makeMissingTargetFailure } from "../copy/download_target.ts";
import { isRemotePath } from "../peer/remote_files.ts";
import { formatRestoreTime, PERIOD_PATTERN } from "../copy/restore_time.ts";
import { formatShellCommand } from "../terminal/shell_command.ts";

interface RestoreOptions {
  readonly at?: Date | string;
  readonly dryRun?: boolean;
}

type MissingReason = Extract<RestoreEvent, { type: "missing" }>["reason"];

const MISSING_REASONS: Readonly<Record<MissingReason, string>> = {
  "own-versions": "it has a .degu-kept of its own: restore it by itself",
  "no-file": "not a file, but a link or special file",
  unreadable: "can't be read",
};

export async function restore(
  context: Context,
  dirOperand: string,
  newOperand: string | undefined,
  { at, dryRun = false }: RestoreOptions,
): Promise<number> {
  const { output, signal } = context;
  const operands = newOperand === undefined ? [dirOperand] : [dirOperand, newOperand];
  for (const operand of operands) checkIsLocal(operand);
  if (newOperand === undefined && at !== undefined && !dryRun) {
    throw new Failure(
      "name the new directory after DIR; --dry-run needs none, and prints the files",
      "USAGE",
    );
  }
  const [dir, target = null] = operands.map((operand) => resolve(toLocalPath(operand))) as [
    string,
    string?,
  ];
  const deviceDirectory = await findDeviceDirectory(context.home);
  await deviceDirectory.check(dir);
  if (target !== null) {
    await deviceDirectory.check(target);
    await checkTarget(target);
  }
  const info = await ignoreNotFound(Deno.stat(dir)).catch(() => null);
  if (at === undefined) {
    await listHours(context, dir, target).catch((error) => {
      throw toFailure(error, { dir, target, info });
    });
    return 0;
  }
  const time = typeof at === "string" ? `before ${at}` : `at ${formatRestoreTime(at)}`;
  const report = new Report(context, dryRun);
  let hasBegun = false;
  const onEvent = (event: RestoreEvent) => {
    if (!hasBegun) {
      output.note(`${dryRun ? "would restore" : "restoring"} ${dir} as it was ${time}`);
    }
    hasBegun = true;
    report.add(event);
  };
  const options = { ...target === null ? {} : { target }, at, dryRun, onEvent, signal };
  const result = await restoreTree(dir, options).catch((error) => {
    throw toFailure(error, { dir, target, info });
  });
  const { files, unchanged, missing } = result;
  if (files + unchanged + missing + result.failed === 0) {
    const problem = `no file was in ${JSON.stringify(dir)} ${time}`;
    const message = `${problem}; earlier versions of files are in .degu-kept`;
    throw new Failure(message, "NOT_THERE", { path: dir });
  }
  report.finish(result, target, time);
  return report.hasFailed ? FAILED : 0;
}

const MAX_LISTED_HOURS = 10;

type ListedState = readonly [lines: readonly string[], object: Record<string, unknown>];

/** Prints earlier states of a directory, at most one of each hour, and what restores each. */
async function listHours(
  { output, signal }: Context,
  dir: string,
  target: string | null,
): Promise<void> {
  const path = await resolveRealPath(dir);
  const root = await findKeepingDirectory(path);
  const [keptDirectory, pathBelow] = [join(root, KEPT_DIRECTORY), relative(root, path)];
  const findState = async (at: string, shownTime: string): Promise<ListedState | null> => {
    signal.throwIfAborted();
    const version = join(keptDirectory, at, pathBelow);
    const info = await ignoreNotFound(Deno.lstat(version));
    if (info?.isFile) return [[version], { version }];
    const options = target === null ? {} : { target };
    const { files, bytes } = await restoreTree(dir, { ...options, at, dryRun: true });
    const home = output.home === undefined ? [] : ["--home", output.home];
    const words = [...home, "restore", "--at", at, dir, target ?? "NEW"];
    const command = formatShellCommand("degu", ...words);
    const summary = `${shownTime}: ${formatCount(files, "file")}, ${formatBytes(bytes)}`;
    return files === 0 ? null : [[summary, `  ${command}`], { at, files, bytes }];
  };
  const states: ListedState[] = [];
  const periodsWithoutState: string[] = [];
  const hours = await findHours(keptDirectory, pathBelow);
  for (const periods of hours) {
    if (states.length === MAX_LISTED_HOURS) break;
    for (const [index, period] of periods.entries()) {
      // A later state than that of the hour may be the middle of one change of many files.
      const state = await findState(period, index === 0 ? hourOf(period) : period);
      if (state !== null) {
        states.push(state);
        break;
      }
      periodsWithoutState.push(period);
    }
  }
  if (hours.length === 0) throw new RestoreError("NO_VERSIONS", "no period has a file");
  const keptPath = periodsWithoutState.map((period) => join(keptDirectory, period, pathBelow))
    .find((path) => existsSync(path) && !isEmptyDirectory(path));
  const keptText = keptPath === undefined
    ? null
    : `other versions are in ${JSON.stringify(keptPath)}`;
  if (states.length === 0) {
    const firstHour = hourOf(hours.at(-1)![0]!);
    const problem = `no file was in ${JSON.stringify(dir)} before ${firstHour}`;
    const message = keptText === null ? problem : `${problem}; ${keptText}`;
    throw new Failure(message, "NOT_THERE", { path: dir });
  }
  output.note(`earlier states of ${dir}, at most one of each hour, the last first:`);
  for (const [lines, object] of states) output.printResult(lines, object);
  if (keptText !== null) output.note(`${keptText}: they may be in none of these states`);
}

function isEmptyDirectory(path: string): boolean {
  return Deno.statSync(path).isDirectory && Deno.readDirSync(path).next().done === true;
}

function hourOf(period: string): string {
  return period.split("_")[0]!;
}

/** Returns the periods with changes below a path, in their order, by hours: the last hour first. */
async function findHours(keptDirectory: string, pathBelow: string): Promise<string[][]> {
  const numberOf = (period: string) => Number(period.split("_")[1]);
  const entries = await ignoreNotFound(Array.fromAsync(Deno.readDir(keptDirectory))) ?? [];
  const periods = entries.map(({ name }) => name).filter((name) => PERIOD_PATTERN.test(name))
    .sort((one, other) => numberOf(one) - numberOf(other));
  const newPath = `\n${JSON.stringify(pathBelow === "" ? "" : `${pathBelow}/`).slice(0, -1)}`;
  const hours: string[][] = [];
  for (const period of periods) {
    const listPath = join(keptDirectory, `${numberOf(period)}.new`);
    const list = await ignoreNotFound(Deno.readTextFile(listPath));
    // Without its list, a period was removed.
    if (list === null) continue;
    const versions = await ignoreNotFound(Deno.lstat(join(keptDirectory, period, pathBelow)));
    if (versions === null && !list.includes(newPath)) continue;
    // If the clock was set back, an hour comes again, with other hours between.
    if (hours[0]?.map(hourOf)[0] === hourOf(period)) hours[0]!.push(period);
    else hours.unshift([period]);
  }
  return hours;
}

function checkIsLocal(operand: string): void {
  if (!isRemotePath(operand)) return;
  throw new Failure(
    `${JSON.stringify(operand)} is read as PEER:PATH, and ./${operand} as a directory`,
    "USAGE",
  );
}

async function checkTarget(target: string): Promise<void> {
  await checkParent(target);
  // Another target is refused for this reason.
  const isEmpty = await Array.fromAsync(Deno.readDir(target)).then(({ length }) => length === 0)
    .catch((error) => error instanceof Deno.errors.NotFound);
  if (isEmpty) await checkOutsideInbox(dirname(target));
}

async function checkParent(target: string): Promise<void> {
  if (await ignoreNotFound(Deno.lstat(target)) !== null) return;
  const parent = dirname(target);
  const isDirectory = await Deno.stat(parent).then((info) => info.isDirectory, (error) => {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  });
  if (isDirectory) return;
  throw await makeMissingTargetFailure(parent);
}

function toFailure(
  error: unknown,
  { dir, target, info }: {
    readonly dir: string;
    readonly target: string | null;
    /** `null` if the directory is missing. */
    readonly info: Deno.FileInfo | null;
  },
): unknown {
  const options = { cause: error, path: target ?? dir };
  const quoted = JSON.stringify(target);
  if (error instanceof RangeError) {
    return new Failure(
      `${quoted} is in the directory that is restored, or among its versions`,
      "USAGE",
      options,
    );
  }
  if (error instanceof Deno.errors.AlreadyExists) {
    return new Failure(
      `${quoted} exists, and is not empty: name a new directory`,
      "ALREADY_THERE",
      options,
    );
  }
  if (!(error instanceof RestoreError)) return error;
  const problem = error.code !== "NO_VERSIONS"
    ? `${error.message}; earlier versions of files are in .degu-kept`
    : info === null
    ? `there is no directory ${JSON.stringify(dir)}, and no earlier versions are kept of it`
    : `no earlier versions are kept of ${JSON.stringify(dir)}`;
  return new Failure(problem, "NOT_THERE", { cause: error, path: dir });
}

class Report {
  hasFailed = false;
  readonly #output: Output;
  readonly #isDryRun: boolean;
  readonly #isVerbose: boolean;
  #absentCount = 0;

  constructor({ output, options: { verbose = false } }: Context, isDryRun: boolean) {
    this.#output = output;
    this.#isVerbose = verbose;
    this.#isDryRun = isDryRun;
  }

  add(event: RestoreEvent): void {
    const dryRun = this.#isDryRun ? { dryRun: true } : {};
    const path = event.path.join("/");
    const name = formatName(path);
    switch (event.type) {
      case "restored": {
        const { size, version } = event;
        const source = version === null ? "the present file" : `version ${version}`;
        const verb = this.#isDryRun ? "would restore" : "restored";
        return this.#output.printResult(`${verb} ${name}: ${source}`, {
          action: "restore",
          path,
          size,
          version,
          ...dryRun,
        });
      }
      case "absent":
        this.#absentCount++;
        if (!this.#output.json && !this.#isVerbose) return;
        return this.#output.printResult(`left out: ${name}: it was not there then`, {
          action: "leave",
          path,
          ...dryRun,
        });
      case "missing": {
        const { reason } = event;
        if (reason !== "no-file") this.hasFailed = true;
        if (this.#output.json) {
          return this.#output.printResult("", { action: "miss", path, reason, ...dryRun });
        }
        const text = `not restored: ${name}: ${MISSING_REASONS[reason]}`;
        return reason === "no-file" ? this.#output.warn(text) : this.#output.error(text);
      }
      case "failed": {
        this.hasFailed = true;
        const message = explain(event.error);
        this.#output.error(`${name}: ${message}`);
        if (this.#output.json) {
          this.#output.printResult("", { action: "restore", path, error: { message } });
        }
      }
    }
  }

  finish(result: RestoreResult, target: string | null, time: string): void {
    const { files, bytes, unchanged, missing, failed } = result;
    const parts = [
      `${formatCount(files, "file")} ${this.#isDryRun ? "would be " : ""}restored, ${
        formatBytes(bytes)
      }`,
      ...unchanged > 0 ? [`${unchanged} restored earlier`] : [],
      ...this.#absentCount > 0 ? [`${this.#absentCount} left out, not there then`] : [],
      ...missing > 0 ? [`${missing} not restored`] : [],
      ...failed > 0 ? [`${failed} failed`] : [],
    ];
    const where = target === null ? "" : `: ${target}`;
    this.#output.note(`${parts.join("; ")}${where}, as it was ${time}`);
    if (failed > 0) this.#output.error("run the same command again to continue");
  }
}

/** A name with a line feed would look like two lines. */
function formatName(path: string): string {
  return /[\p{Cc}\p{Zl}\p{Zp}]/u.test(path) ? JSON.stringify(path) : path;
}
