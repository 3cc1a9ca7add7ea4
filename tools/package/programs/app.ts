// The app that the worker of temp_server.ts imports.
import type { App } from "@degu/degu";

export function buildApp(from: string): App {
  return () => [200, "OK", { from }, null];
}
