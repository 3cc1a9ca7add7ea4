import { dirname } from "node:path";
import { RestoreError, type RestoreEvent, type RestoreResult, restoreTree } from "@degu/degu/files";
import type { Context } from "../machine/context.ts";
import { explain } from "../words/explain.ts";
import { FAILED, Failure } from "../failure.ts";
import { isInbox } from "../serve/inbox.ts";
import {
  describeMissingDirectory,
  findDeviceDirectory,
  ignoreNotFound,
  toLocalPath,
} from "../machine/local_paths.ts";
import { formatBytes, formatCount, type Output } from "../terminal/output.ts";
import { resolve } from "../machine/paths.ts";
import { isRemotePath } from "../peer/remote_files.ts";
import { findDefaultTime, formatRestoreTime } from "../copy/restore_time.ts";

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
  newOperand: string,
  { at = findDefaultTime(), dryRun = false }: RestoreOptions,
): Promise<number> {
  const { output, signal } = context;
  for (const operand of [dirOperand, newOperand]) checkIsLocal(operand);
  const dir = resolve(toLocalPath(dirOperand));
  const target = resolve(toLocalPath(newOperand));
  const deviceDirectory = await findDeviceDirectory(context.home);
  for (const path of [dir, target]) await deviceDirectory.check(path);
  await checkParent(target);
  // Another target is refused for this reason.
  const isEmpty = await Array.fromAsync(Deno.readDir(target)).then(({ length }) => length === 0)
    .catch((error) => error instanceof Deno.errors.NotFound);
  if (isEmpty && await isInbox(dirname(target))) {
    throw new Failure(
      `${JSON.stringify(target)} is directly in an inbox, where each directory belongs to a peer`,
      "USAGE",
      { path: target },
    );
  }
  const time = typeof at === "string" ? `before ${at}` : `at ${formatRestoreTime(at)}`;
  output.note(`${dryRun ? "would restore" : "restoring"} ${dir} as it was ${time}`);
  const info = await ignoreNotFound(Deno.stat(dir)).catch(() => null);
  const report = new Report(context, dryRun);
  const onEvent = (event: RestoreEvent) => report.add(event);
  const result = await restoreTree(dir, { target, at, dryRun, onEvent, signal }).catch((error) => {
    throw toFailure(error, { dir, target, info });
  });
  const { files, unchanged, missing } = result;
  if (files + unchanged + missing + result.failed === 0 && info?.isFile) {
    throw new Failure(
      `${JSON.stringify(dir)} is a file: name its directory`,
      "NOT_THERE",
      { path: dir },
    );
  }
  if (files + unchanged + missing + result.failed === 0) {
    throw new Failure(
      `no file was in ${JSON.stringify(dir)} ${time}; earlier versions of files are in .degu-kept`,
      "NOT_THERE",
      { path: dir },
    );
  }
  report.finish(result, target, time);
  return report.hasFailed ? FAILED : 0;
}

function checkIsLocal(operand: string): void {
  if (!isRemotePath(operand)) return;
  throw new Failure(
    `${JSON.stringify(operand)} is read as PEER:PATH; a directory of this name is ./${operand}`,
    "USAGE",
  );
}

async function checkParent(target: string): Promise<void> {
  if (await ignoreNotFound(Deno.lstat(target)) !== null) return;
  const parent = dirname(target);
  const isDirectory = await Deno.stat(parent).then((info) => info.isDirectory, (error) => {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  });
  if (isDirectory) return;
  throw new Failure(await describeMissingDirectory(parent), "NOT_THERE", { path: parent });
}

function toFailure(
  error: unknown,
  { dir, target, info }: {
    readonly dir: string;
    readonly target: string;
    readonly info: Deno.FileInfo | null;
  },
): unknown {
  const options = { cause: error, path: target };
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

  finish(result: RestoreResult, target: string, time: string): void {
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
    this.#output.note(`${parts.join("; ")}: ${target}, as it was ${time}`);
    if (failed > 0) this.#output.error("run the same command again to continue");
  }
}

/** A name with a line feed would look like two lines. */
function formatName(path: string): string {
  return /[\p{Cc}\p{Zl}\p{Zp}]/u.test(path) ? JSON.stringify(path) : path;
}
