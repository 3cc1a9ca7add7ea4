import type { App } from "../base/app/app.ts";
import { notAllowedError, wrongArgumentError } from "../internal/checks.ts";
import { quote, typeNameOf } from "../internal/quote.ts";

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
 * @param argument The name of the argument of the program, for errors.
 * @param label The name of the function or the class, for errors.
 * @param advice What to do if the function is the app itself.
 */
export async function buildApp(
  build: unknown,
  args: readonly unknown[],
  { argument, label, advice }: { argument: string; label: string; advice: string },
): Promise<App> {
  if (typeof build !== "function") {
    throw wrongArgumentError(
      argument,
      `${label} must be a function or a class; got ${typeNameOf(build)}`,
    );
  }
  const app = isClass(build) ? Reflect.construct(build, args) : await build(...args);
  if (!Array.isArray(app)) return app as App; // the caller checks the app
  throw wrongArgumentError(
    argument,
    `${label} returned an array, as an app does, and not an app; if it is the app itself, ${advice}`,
  );
}

export function isClass(value: CallableFunction): boolean {
  return /^class\b/.test(Function.prototype.toString.call(value));
}
