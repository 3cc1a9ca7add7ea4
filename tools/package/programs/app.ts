// The app of temp_server.ts, which its worker imports.
import type { App } from "@degu/degu";

export function buildApp(from: string): App {
  return () => [200, "OK", { from }, null];
}
