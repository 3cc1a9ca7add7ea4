/**
 * How a function is sent to a worker: by its source, or as an export of a module.
 *
 * @module
 */

import { wrongType } from "../base/checks.ts";
import { readModuleExport } from "../worker/module_export.ts";
import type { FunctionReference } from "./temp_server_protocol.ts";

/**
 * A function for a worker: a self-contained one, which is sent as its source, or an export of a
 * module by the module's absolute URL (`import.meta.resolve("./app.ts")`) and its name.
 */
export type AppRef<F> = F | { module: string | URL; name: string };

const INSTEAD = "use a function that is self-contained, or { module, name } of an export";

/**
 * Describes how the worker gets a function.
 *
 * @throws {TypeError} if it can't be sent to one.
 * @throws {RangeError} if its module has no absolute URL.
 */
export function refer(label: string, value: AppRef<unknown>): FunctionReference {
  if (typeof value === "function") return { kind: "source", source: sourceOf(label, value) };
  const named = readModuleExport(label, value);
  if (named !== null) return { kind: "module", ...named };
  const wanted = "a self-contained function, or { module, name } of one that a module exports";
  throw wrongType(label, wanted, value);
}

function sourceOf(label: string, value: unknown): string {
  const source: string = Function.prototype.toString.call(value);
  if (/\{\s*\[native code\]\s*\}$/.test(source)) {
    throw new TypeError(`${label}: a native or bound function has no source; ${INSTEAD}`);
  }
  if (/^class\b/.test(source)) throw new TypeError(`${label}: a class can't be called; ${INSTEAD}`);
  try {
    new Function(`"use strict"; return (${source}\n);`);
  } catch {
    throw new TypeError(`${label}: the source of a method is not a function; ${INSTEAD}`);
  }
  return source;
}
