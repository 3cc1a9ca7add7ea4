/** Exports of modules, which name the code that a worker runs. */

import { quote } from "../base/quote.ts";

/** An export of a module, by the module's absolute URL. */
export interface ModuleExport {
  readonly module: string;
  readonly name: string;
}

/**
 * Reads the name of an export; `null` if the value doesn't have that form.
 *
 * @param label The name of the value in errors.
 * @throws {RangeError} if the module has no absolute URL.
 */
export function readModuleExport(label: string, value: unknown): ModuleExport | null {
  const { module, name } = (value ?? {}) as Partial<{ module: string | URL; name: string }>;
  if (!(typeof module === "string" || module instanceof URL) || typeof name !== "string") {
    return null;
  }
  if (!URL.canParse(module)) {
    throw new RangeError(
      `${label}.module: must be an absolute URL, as of import.meta.resolve(); got ${
        quote(`${module}`)
      }`,
    );
  }
  return { module: String(module), name };
}

/**
 * Imports the module and returns the export.
 *
 * @throws {TypeError} if the module can't be found, or has no such export; also the errors of the
 * module.
 */
export async function loadModuleExport({ module, name }: ModuleExport): Promise<unknown> {
  const value = (await importModule(module))[name];
  if (value === undefined) throw new TypeError(`the module ${module} has no export "${name}"`);
  return value;
}

/**
 * Imports a module by its absolute URL. `deno publish` rewrites the imports that it can read, and
 * warns of any `import()` with a variable; this one needs no rewriting.
 */
const importModule = new Function("url", "return import(url);") as (
  url: string,
) => Promise<Record<string, unknown>>;
