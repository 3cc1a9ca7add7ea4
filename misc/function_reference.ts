/**
 * How a function crosses into a worker: by its source, or as an export of a module.
 *
 * @module
 */

import { quote, typeName } from "../base/errors.ts";
import type { FunctionReference } from "./temp_server_protocol.ts";

/**
 * A function for a worker: a self-contained one, which crosses by its source, or an export of a
 * module by the module's absolute URL (`import.meta.resolve("./app.ts")`) and its name.
 */
export type AppRef<F> = F | { module: string | URL; name: string };

const INSTEAD = "use a function that is self-contained, or { module, name } of an export";

/**
 * Says how the worker gets at a function.
 *
 * @throws {TypeError} where it can't cross.
 * @throws {RangeError} where its module has no absolute URL.
 */
export function refer(what: string, value: AppRef<unknown>): FunctionReference {
  if (typeof value === "function") return { kind: "source", source: sourceOf(what, value) };
  const { module, name } = (value ?? {}) as Partial<{ module: string | URL; name: string }>;
  if (!(typeof module === "string" || module instanceof URL) || typeof name !== "string") {
    throw new TypeError(
      `${what}: need a self-contained function, or { module, name } of one that a module exports; ` +
        `got ${typeName(value)}`,
    );
  }
  if (!URL.canParse(module)) {
    throw new RangeError(
      `${what}.module: need an absolute URL, as of import.meta.resolve(); got ${
        quote(`${module}`)
      }`,
    );
  }
  return { kind: "module", module: String(module), name };
}

function sourceOf(what: string, value: unknown): string {
  const source: string = Function.prototype.toString.call(value);
  if (/\{\s*\[native code\]\s*\}$/.test(source)) {
    throw new TypeError(`${what}: a native or bound function has no source; ${INSTEAD}`);
  }
  if (/^class\b/.test(source)) throw new TypeError(`${what}: a class can't be called; ${INSTEAD}`);
  try {
    new Function(`"use strict"; return (${source}\n);`);
  } catch {
    throw new TypeError(`${what}: the source of a method is not a function; ${INSTEAD}`);
  }
  return source;
}
