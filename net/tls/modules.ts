/**
 * Node's modules that TLS is made of. They are built into Deno, and take time to start: even a look at
 * `process` costs ten milliseconds. So nothing does that before it is needed.
 *
 * @module
 */

/** The modules, by name. */
interface Builtins {
  "node:crypto": typeof import("node:crypto");
  "node:net": typeof import("node:net");
  "node:stream": typeof import("node:stream");
  "node:tls": typeof import("node:tls");
}

/** Loads a module, if it is not loaded yet. */
export function loadBuiltin<Name extends keyof Builtins>(name: Name): Builtins[Name] {
  return globalThis.process.getBuiltinModule(name);
}
