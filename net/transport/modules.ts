/**
 * The modules of Node that TLS needs. These modules are built into Deno and slow to load: even
 * accessing `process` costs ten milliseconds. So they are loaded on demand.
 */

interface Builtins {
  "node:crypto": typeof import("node:crypto");
  "node:net": typeof import("node:net");
  "node:stream": typeof import("node:stream");
  "node:tls": typeof import("node:tls");
}

export function loadBuiltin<Name extends keyof Builtins>(name: Name): Builtins[Name] {
  return globalThis.process.getBuiltinModule(name);
}
