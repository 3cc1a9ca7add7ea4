/** Importing this module has no effect. */

import type { App } from "../base/app/app.ts";
import { buildApp } from "../worker/load_app.ts";

/**
 * Makes the app of a function that is sent to a worker as its source, because threads exchange only
 * data.
 *
 * @param args The arguments for making the app; `null` if the function is the app itself.
 */
export async function makeFunctionApp(
  source: string,
  args: readonly unknown[] | null,
): Promise<App> {
  const value = await evaluateFunction(source);
  if (args === null) return value as App; // the server checks the app
  return await buildApp(value, args, "build");
}

/**
 * Evaluates the source of a function. The names of `@degu/degu` are in its scope, except those that
 * are globals with another meaning.
 */
async function evaluateFunction(source: string): Promise<unknown> {
  const scope = Object.entries(await import("../mod.ts")).filter(([name]) => !(name in globalThis));
  const evaluate = new Function(
    ...scope.map(([name]) => name),
    `"use strict"; return (${source}\n);`,
  );
  return evaluate(...scope.map(([, value]) => value));
}
