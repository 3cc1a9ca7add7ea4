import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { RestoreError, type RestoreEvent, type RestoreResult, restoreTree } from "@degu/degu/files";
import { type Context, KEPT_DIRECTORY } from "../machine/context.ts";
import { codeOf } from "../words/error_codes.ts";
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

interface Operands {
  readonly dir: string;
  readonly target: string | undefined;
  /** `null` if the directory is missing. */
  readonly info: Deno.FileInfo | null;
}

type MissingReason = Extract<RestoreEvent, { type: "missing" }>["reason"];

const LIST_ADVICE = "without --at, degu restore lists what can be restored";

const MISSING_REASONS: Readonly<Record<MissingReason, string>> = {
  "own versions": "it has a .degu-kept of its own: restore it by itself",
  "no file": "not a file, but a link or special file",
  unreadable: "can't be read",
};

export async function restore(
  context: Context,
  dirOperand: string,
  newOperand: string | undefined,
  { at, dryRun = false }: RestoreOptions,
): Promise<number> {
  const { output, signal } = context;
  const dir = resolveOperand(dirOperand);
  const target = newOperand === undefined ? undefined : resolveOperand(newOperand);
  const deviceDirectory = await findDeviceDirectory(context.home);
  await deviceDirectory.check(dir);
  if (target !== undefined) {
    await deviceDirectory.check(target);
    await checkTarget(target, dir);
  }
  const info = await ignoreNotFound(Deno.stat(dir)).catch(() => null);
  const operands = { dir, target, info };
  const fail = async (error: unknown) => {
    throw await toFailure(error, operands);
  };
  if (at === undefined) {
    await listStates(context, operands).catch(fail);
    return 0;
  }
  if (info?.isFile) {
    throw new Failure(`${JSON.stringify(dir)} is a file: ${LIST_ADVICE}`, "USAGE", { path: dir });
  }
  if (target === undefined && !dryRun) {
    throw new Failure(
      "name the new directory after DIR; --dry-run needs none, and prints the files",
      "USAGE",
    );
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
  const options = { target, at, dryRun, onEvent, signal };
  const result = await restoreTree(dir, options).catch(fail);
  const { files, unchanged, missing } = result;
  if (files + unchanged + missing + result.failed === 0) {
    // Without a state to list, this throws the reason.
    await listStates(context, operands, false).catch(fail);
    const problem = `no file was in ${JSON.stringify(dir)} ${time}; ${LIST_ADVICE}`;
    throw new Failure(problem, "NOT_FOUND", { path: dir });
  }
  report.finish(result, target, time);
  return report.hasFailed ? FAILED : 0;
}

const MAX_STATES = 9;
const MAX_OTHERS = 4;

interface State {
  /** The hour for its first period, else the period. */
  readonly time: string;
  readonly at: string;
  readonly files: number;
  readonly bytes: number;
  /** The periods of the hour that aren't listed, shared by its states. */
  readonly others: readonly string[];
}

/** Prints earlier states of a directory with what restores each, or the versions of a file. */
async function listStates(
  { output, signal }: Context,
  { dir, target, info }: Operands,
  isPrinted = true,
): Promise<void> {
  const path = await resolveRealPath(dir);
  const root = await findKeepingDirectory(path);
  const keptDirectory = join(root, KEPT_DIRECTORY);
  const pathBelow = relative(root, path);
  const hours = await findHours(keptDirectory, pathBelow);
  if (!info?.isDirectory) {
    const versions: string[] = [];
    for (const period of hours.flatMap((periods) => periods.toReversed())) {
      const version = join(keptDirectory, period, pathBelow);
      if ((await ignoreNotFound(Deno.lstat(version)))?.isFile) versions.push(version);
    }
    if (!isPrinted && versions.length > 0) return;
    if (info !== null || versions.length > 0) return listVersions(output, dir, versions);
  }
  if (hours.length === 0) throw new RestoreError("NO_VERSIONS", "no period has a file");
  const states: State[] = [];
  const periodsWithoutState: string[] = [];
  const unlistedHours = [...hours];
  while (states.length < MAX_STATES && unlistedHours.length > 0) {
    const periods = unlistedHours.shift()!;
    const laterStateCount = states.length;
    const others: string[] = [];
    for (const at of periods.toReversed()) {
      signal.throwIfAborted();
      // Lists the last two states of an hour, because one change of many files may begin two
      // periods, and the first state. Each plan looks at all files.
      const isOther = states.length - laterStateCount >= 2 && at !== periods[0];
      if (isOther || states.length === MAX_STATES) {
        others.push(at);
        continue;
      }
      const { files, bytes } = await restoreTree(dir, { target, at, dryRun: true });
      if (files === 0) periodsWithoutState.push(at);
      else states.push({ time: at === periods[0] ? hourOf(at) : at, at, files, bytes, others });
    }
  }
  const keptPath = periodsWithoutState.map((period) => join(keptDirectory, period, pathBelow))
    .find((path) => existsSync(path) && !isEmptyDirectory(path));
  const keptText = keptPath === undefined
    ? null
    : `other versions are in ${JSON.stringify(keptPath)}`;
  if (states.length === 0) {
    const firstHour = hourOf(hours.at(-1)![0]!);
    const problem = `no file was in ${JSON.stringify(dir)} before ${firstHour}`;
    const message = keptText === null ? problem : `${problem}; ${keptText}`;
    throw new Failure(message, "NOT_FOUND", { path: dir });
  }
  if (!isPrinted) return;
  output.note(`earlier states of ${dir}, the last first:`);
  const home = output.home === undefined ? [] : ["--home", output.home];
  for (const [index, { time, ...state }] of states.entries()) {
    const { at, files, bytes, others } = state;
    const words = [...home, "restore", "--at", at, dir, target ?? "NEW"];
    const isLastOfHour = states[index + 1]?.others !== others;
    output.printResult([
      `${time}: ${formatCount(files, "file")}, ${formatBytes(bytes)}`,
      `  ${formatShellCommand("degu", ...words)}`,
      ...isLastOfHour && others.length > 0 ? [`  ${formatOthers(others)} of this hour`] : [],
    ], state);
  }
  const earlierPeriods = unlistedHours.map(([first]) => first!);
  if (earlierPeriods.length > 0) output.note(`${formatOthers(earlierPeriods)}, of earlier hours`);
  if (keptText !== null) output.note(`${keptText}: they may be in none of these states`);
}

function formatOthers(periods: readonly string[]): string {
  return `${periods.length} more: --at ${periods.slice(0, MAX_OTHERS).join(", ")}`;
}

function listVersions(output: Output, file: string, versions: readonly string[]): void {
  const [lastVersion] = versions;
  if (lastVersion === undefined) throw new RestoreError("NO_VERSIONS", "no period has a version");
  output.note(`versions of ${file}, the last first:`);
  for (const version of versions) output.printResult(version, { version });
  const command = formatShellCommand("cp", "-p", lastVersion, "NEW");
  output.note(`to get one back, copy it to a name that is not there: ${command}`);
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

function resolveOperand(operand: string): string {
  if (!isRemotePath(operand)) return resolve(toLocalPath(operand));
  throw new Failure(
    `${JSON.stringify(operand)} is at a peer: run degu restore there, or write ./${operand}`,
    "USAGE",
  );
}

async function checkTarget(target: string, dir: string): Promise<void> {
  await checkParent(target, dir);
  // Another target is refused for this reason.
  const isEmpty = await Array.fromAsync(Deno.readDir(target)).then(({ length }) => length === 0)
    .catch((error) => error instanceof Deno.errors.NotFound);
  if (isEmpty) await checkOutsideInbox(dirname(target));
}

async function checkParent(target: string, dir: string): Promise<void> {
  if (await ignoreNotFound(Deno.lstat(target)) !== null) return;
  const parent = dirname(target);
  const isDirectory = await Deno.stat(parent).then((info) => info.isDirectory, (error) => {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  });
  if (isDirectory) return;
  const [realParent, realDir] = await Promise.all([parent, dir].map(resolveRealPath));
  throw `${realParent}/`.startsWith(`${realDir}/`)
    ? makeNestedTargetFailure(target)
    : await makeMissingTargetFailure(parent);
}

function makeNestedTargetFailure(target: string | undefined, cause?: unknown): Failure {
  const problem = "is in the directory that is restored, or among its versions";
  return new Failure(`${JSON.stringify(target)} ${problem}`, "USAGE", { cause, path: `${target}` });
}

async function toFailure(error: unknown, { dir, target, info }: Operands): Promise<unknown> {
  if (error instanceof RangeError) return makeNestedTargetFailure(target, error);
  if (error instanceof Deno.errors.AlreadyExists) {
    const problem = `${JSON.stringify(target)} exists, and is not empty: name a new directory`;
    return new Failure(problem, "ALREADY_EXISTS", { cause: error, path: target ?? dir });
  }
  if (!(error instanceof RestoreError)) return error;
  const hint = error.code === "OTHER_VERSIONS"
    ? "earlier versions of files are in .degu-kept"
    : LIST_ADVICE;
  const problem = error.code !== "NO_VERSIONS"
    ? `${error.message}; ${hint}`
    : info === null
    ? `there is no directory ${JSON.stringify(dir)}, and no earlier versions are kept of it`
    : await describeMissingVersions(dir);
  return new Failure(problem, "NOT_FOUND", { cause: error, path: dir });
}

/** Versions may be those of another entry, or of the directories of peers in an inbox. */
async function describeMissingVersions(dir: string): Promise<string> {
  const path = await resolveRealPath(dir);
  const entries = await Array.fromAsync(Deno.readDir(path)).catch(() => []);
  const keepingDirectory = [
    await findKeepingDirectory(path),
    ...entries.map(({ name }) => join(path, name)),
  ].find((each) => existsSync(join(each, KEPT_DIRECTORY)));
  const hint = keepingDirectory === undefined
    ? ": serve and sync keep them with --keep"
    : `; ${JSON.stringify(keepingDirectory)} has some`;
  return `no versions are kept of ${JSON.stringify(dir)}${hint}`;
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
    switch (event.type) {
      case "restored": {
        const { size, version } = event;
        const source = version === null ? "the present file" : `version ${version}`;
        const verb = this.#isDryRun ? "would restore" : "restored";
        return this.#output.printResult(`${verb} ${path}: ${source}`, {
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
        return this.#output.printResult(`left out: ${path}: it was not there then`, {
          action: "leave",
          path,
          ...dryRun,
        });
      case "missing": {
        const { reason } = event;
        if (reason !== "no file") this.hasFailed = true;
        if (this.#output.json) {
          return this.#output.printResult("", { action: "miss", path, reason, ...dryRun });
        }
        const text = `not restored: ${path}: ${MISSING_REASONS[reason]}`;
        return reason === "no file" ? this.#output.warn(text) : this.#output.error(text);
      }
      case "failed": {
        this.hasFailed = true;
        const code = codeOf(event.error);
        const message = explain(event.error);
        this.#output.error(`${path}: ${message}`);
        if (this.#output.json) {
          this.#output.printResult("", { action: "restore", path, error: { code, message } });
        }
      }
    }
  }

  finish(result: RestoreResult, target: string | undefined, time: string): void {
    const { files, bytes, unchanged, missing, failed } = result;
    const verb = this.#isDryRun ? "would be restored" : "restored";
    const parts = [
      `${formatCount(files, "file")} ${verb}, ${formatBytes(bytes)}`,
      ...unchanged > 0 ? [`${unchanged} restored earlier`] : [],
      ...this.#absentCount > 0 ? [`${this.#absentCount} left out, not there then`] : [],
      ...missing > 0 ? [`${missing} not restored`] : [],
      ...failed > 0 ? [`${failed} failed`] : [],
    ];
    const where = target === undefined ? "" : `: ${target}`;
    this.#output.note(`${parts.join("; ")}${where}, as it was ${time}`);
    if (failed > 0) this.#output.error("run the same command again to continue");
  }
}
