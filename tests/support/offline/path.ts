/** Stands in for `@std/path` if JSR is unreachable. */
import { fileURLToPath, pathToFileURL } from "node:url";
export { basename, dirname, join } from "node:path";

/** Returns the path of a `file:` URL; any other value is already a path. */
export function fromFileUrl(url: string | URL): string {
  return url instanceof URL || url.startsWith("file:") ? fileURLToPath(url) : url;
}

export function toFileUrl(path: string): URL {
  return pathToFileURL(path);
}
