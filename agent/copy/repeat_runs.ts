import { repeat } from "@degu/degu";
import type { Context } from "../machine/context.ts";
import { explain, makeErrorObject } from "../words/explain.ts";
import { exitCodeOf, isUnreachable } from "../words/error_codes.ts";
import { formatCount, Output, OutputClosedError } from "../terminal/output.ts";

export async function repeatRuns(
  context: Context,
  seconds: number,
  runOnce: (context: Context) => Promise<number>,
): Promise<number> {
  const { signal } = context;
  const output = new RunOutput(context.output, context.options.verbose ?? false);
  let exitCode = 0;
  let isInterrupted = false;
  const run = async () => {
    const runContext = { ...context, output };
    try {
      exitCode = await runOnce(runContext);
    } catch (error) {
      isInterrupted = signal.aborted;
      if (isInterrupted || error instanceof OutputClosedError) throw error;
      exitCode = exitCodeOf(error);
      output.reportFailure(error, runContext, seconds);
    }
    output.endRun(exitCode === 0);
  };
  const onError = (error: unknown) => {
    throw error;
  };
  await repeat(run, { seconds, signal, onError });
  if (isInterrupted) signal.throwIfAborted();
  return exitCode;
}

const DAY_MILLISECONDS = 86_400_000;

/**
 * Prints a problem in the first run that has it, and again when it is over. Notes and the progress
 * are only for `--verbose`.
 */
class RunOutput extends Output {
  readonly #isVerbose: boolean;
  /** The texts of the problems of the previous run, by a key that equal problems share. */
  #previousProblems = new Map<string, string>();
  #currentProblems = new Map<string, string>();
  #isFirstRun = true;
  #runCount = 0;
  /** When the runs were last counted. */
  #countedAt = Date.now();

  constructor(output: Output, isVerbose: boolean) {
    super(output, output.streams);
    this.#isVerbose = isVerbose;
  }

  override note(text: string): void {
    if (this.#isVerbose) super.note(text);
  }

  override animate(milliseconds: number, line: () => string): Disposable {
    return this.#isVerbose ? super.animate(milliseconds, line) : { [Symbol.dispose]: () => {} };
  }

  override printSummary(results: string, _failures: string, hasChanged: boolean): void {
    if (hasChanged || this.#isFirstRun && results !== "") super.note(results);
  }

  override warn(text: string): void {
    if (this.#recordProblem(text)) super.warn(text);
  }

  override error(text: string): void {
    if (this.#recordProblem(text)) super.error(text);
  }

  override printResult(lines: string | readonly string[], object: Record<string, unknown>): void {
    if (!("error" in object) || this.#recordProblem(JSON.stringify(object), "")) {
      super.printResult(lines, object);
    }
  }

  reportFailure(
    error: unknown,
    context: Pick<Context, "peer" | "options">,
    nextRunSeconds: number,
  ): void {
    const { peer } = context;
    const cause = error instanceof Error ? error.cause : undefined;
    const text = explain(error, peer, context);
    // A peer that is offline causes different errors in successive runs.
    const isNew = isUnreachable(error) || isUnreachable(cause)
      ? this.#recordProblem("offline", `${peer} answers again`)
      : this.#recordProblem(text);
    if (isNew) {
      super.error(`${text}; the next run begins in ${nextRunSeconds} s`);
      if (this.json) super.printResult("", { error: makeErrorObject(error, context) });
    }
    // The rest of the run was skipped, so earlier problems may still exist.
    this.#currentProblems = new Map([...this.#previousProblems, ...this.#currentProblems]);
  }

  endRun(isSuccess: boolean): void {
    this.#isFirstRun = false;
    this.#runCount++;
    if (isSuccess && Date.now() - this.#countedAt >= DAY_MILLISECONDS) {
      super.note(`all is well: ${formatCount(this.#runCount, "run")} in a day`);
      [this.#runCount, this.#countedAt] = [0, Date.now()];
    }
    for (const [key, text] of this.#previousProblems) {
      if (text !== "" && !this.#currentProblems.has(key)) super.note(`over: ${text}`);
    }
    [this.#previousProblems, this.#currentProblems] = [this.#currentProblems, new Map()];
  }

  #recordProblem(key: string, text = key): boolean {
    const previousText = this.#currentProblems.get(key) ?? this.#previousProblems.get(key);
    this.#currentProblems.set(key, previousText ?? text);
    return previousText === undefined;
  }
}
