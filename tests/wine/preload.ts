/**
 * Is loaded before the tests on Windows, and under Wine: temporary paths have slashes, as paths have
 * inside the package. The tests of `rows.ts`, and tests that make links, are expected to fail.
 */

import { windowsDeletions as agentDeletions } from "../../agent/peer/deletions.ts";
import { windowsDeletions } from "../../files/disk/names.ts";
import { replaceBackslashes } from "../../internal/paths.ts";
import { patch } from "../support/patching.ts";
import { MissingFeatureError } from "../support/special_files.ts";
import { patchTests } from "./patch_tests.ts";
import { ROWS } from "./rows.ts";

for (const name of ["makeTempDir", "makeTempFile"] as const) {
  patch(Deno, name, (make) => async (options) => replaceBackslashes(await make(options)));
}
for (const name of ["makeTempDirSync", "makeTempFileSync"] as const) {
  patch(Deno, name, (make) => (options) => replaceBackslashes(make(options)));
}

// Deletions are disabled on Windows until this suite has passed there.
for (const deletions of [windowsDeletions, agentDeletions]) deletions.areTested = true;

const reasons = new Map(
  Object.entries(ROWS).flatMap(([reason, names]) => names.map((name) => [name, reason])),
);
/** Rows that would pass after minutes. */
const isIgnored = (reason: string) => reason.startsWith("Wine is too slow");

let hasBegunRow = false;
// A failed test may leave promises and workers, which would end the other tests of its module.
for (const type of ["unhandledrejection", "error"]) {
  addEventListener(type, (event) => {
    if (hasBegunRow) event.preventDefault();
  });
}

type Context = Deno.TestContext;
type Run = (context: Context) => unknown;

/** Parses the arguments of `Deno.test` and of `step`, which have several forms. */
function readArguments(args: unknown[]): { options: Record<string, unknown>; fn: Run } {
  const fn = args.find((each) => typeof each === "function") as Run | undefined;
  const name = args.find((each) => typeof each === "string");
  const givenOptions = args.find((each) => typeof each === "object") as Record<string, unknown>;
  const options = { ...givenOptions, ...(name === undefined ? {} : { name }) };
  return { options: { name: fn?.name, ...options }, fn: fn ?? (givenOptions.fn as Run) };
}

/** Makes the arguments for a test that is in the table, or that has steps in the table. */
function convert(
  args: unknown[],
  above: string,
  noteFailure?: (error: unknown) => void,
): unknown[] {
  const { options, fn } = readArguments(args);
  const name = above + options.name;
  const reason = reasons.get(name);
  if (reason !== undefined && isIgnored(reason)) {
    return [{ ...options, name: `${options.name}: ${reason}`, ignore: true, fn: () => {} }];
  }
  const run = async (context: Context) => {
    const errors: unknown[] = [];
    const note = (error: unknown) => {
      errors.push(error);
      noteFailure?.(error);
    };
    const isExpected = reason !== undefined;
    hasBegunRow ||= isExpected;
    try {
      await fn(withSteps(context, `${name} ... `, isExpected || noteFailure ? note : undefined));
    } catch (error) {
      if (!isExpected && error instanceof MissingFeatureError) {
        console.log(`can't pass: ${name}: ${error.message}`);
        return;
      }
      if (!isExpected && !noteFailure) throw error;
      note(error);
    }
    if (!isExpected) return;
    if (errors.length === 0) console.log(`PASSES: ${name}`);
    else console.log(`can't pass: ${name}: ${reason}:`, ...errors.map((error) => `\n  ${error}`));
  };
  const lenient = reason === undefined && !noteFailure
    ? {}
    : { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false };
  return [{ ...options, ...lenient, fn: run }];
}

function withSteps(
  context: Context,
  above: string,
  noteFailure?: (error: unknown) => void,
): Context {
  return new Proxy(context, {
    get(target, key) {
      const value = Reflect.get(target, key);
      if (key !== "step") return value;
      return (...args: unknown[]) => value.apply(target, convert(args, above, noteFailure));
    },
  });
}

patchTests((test, args) => Reflect.apply(test, Deno, convert(args, "")));
