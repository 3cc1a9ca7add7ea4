/** Importing this module has no effect. */

import type { App } from "../base/app/app.ts";
import { buildApp, isClass } from "../worker/load_app.ts";

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
  const value = explainClosures(await evaluateFunction(source));
  if (args === null) return value as App; // the server checks the app
  return explainClosures(await buildApp(value, args, "build")) as App;
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

/**
 * Returns a function, or an app with functions, that explains the error of a variable that the
 * worker doesn't have.
 */
function explainClosures(value: unknown): unknown {
  if (typeof value === "object" && value !== null) {
    for (const name of ["handle", "onConnect"]) {
      const method: unknown = Object.hasOwn(value, name) && Reflect.get(value, name);
      if (typeof method !== "function") continue;
      Reflect.set(value, name, explainClosures(method.bind(value)));
    }
    return value;
  }
  if (typeof value !== "function" || isClass(value)) return value;
  const explain = (error: unknown): never => {
    if (!(error instanceof ReferenceError)) throw error;
    const advice = "the function was sent to a worker as text, and has only its arguments, " +
      "globals and the names of @degu/degu: pass data as arguments of start(), or pass " +
      "{ module, name } of a function that a module exports";
    throw new ReferenceError(`${error.message}; ${advice}`, { cause: error });
  };
  return (...args: unknown[]) => {
    try {
      const result: unknown = value(...args);
      return result instanceof Promise ? result.catch(explain) : result;
    } catch (error) {
      return explain(error);
    }
  };
}
