import type { App } from "../base/app/app.ts";
import { notAllowedError, wrongTypeError } from "../internal/checks.ts";
import { quote } from "../internal/quote.ts";

/** An app, or a function or a class that makes an app, that a worker imports. */
export interface ModuleExport {
  readonly module: string;
  readonly name: string;
}

/** Returns `null` if the value isn't a module's export. */
export function parseModuleExport(label: string, value: unknown): ModuleExport | null {
  const { module, name } = (value ?? {}) as Partial<{ module: string | URL; name: string }>;
  if (!(typeof module === "string" || module instanceof URL) || typeof name !== "string") {
    return null;
  }
  if (!URL.canParse(module)) {
    throw notAllowedError(
      `${label}.module`,
      `must be an absolute URL, as of import.meta.resolve(); got ${quote(`${module}`)}`,
    );
  }
  return { module: String(module), name };
}

export async function loadModuleExport({ module, name }: ModuleExport): Promise<unknown> {
  // The URL is absolute, so `deno publish`, which warns of this import, need not rewrite it.
  const moduleExports: Record<string, unknown> = await import(module);
  const value = moduleExports[name];
  if (value === undefined) throw new TypeError(`the module ${module} has no export "${name}"`);
  return value;
}

/**
 * Calls the function or the class that makes an app.
 *
 * @param label The name of the function or the class, for errors.
 */
export async function buildApp(
  build: unknown,
  args: readonly unknown[],
  label: string,
): Promise<App> {
  if (typeof build !== "function") throw wrongTypeError(label, "a function or a class", build);
  // The caller checks the app.
  return isClass(build) ? Reflect.construct(build, args) : await build(...args);
}

function isClass(value: CallableFunction): boolean {
  return /^class\b/.test(Function.prototype.toString.call(value));
}
