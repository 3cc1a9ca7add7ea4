/** Files that a body opens and closes. No other module of base/ calls Deno. */

import { notAllowedError, wrongTypeError } from "../../internal/checks.ts";
import { MAX_LENGTH } from "../wire/limits.ts";
import { type BodySource, PositionedSource } from "./body_source.ts";

export async function openFile(
  path: string | URL,
): Promise<{ readonly source: BodySource; readonly size: number }> {
  if (typeof path !== "string" && !(path instanceof URL)) {
    throw wrongTypeError("path", "a string or a file: URL", path);
  }
  // Check before opening: opening a FIFO waits for a writer, and opening a device has effects.
  checkFile(path, await Deno.stat(path));
  const file = await Deno.open(path, { read: true });
  try {
    const info = await file.stat();
    checkFile(path, info);
    return { source: new PositionedSource(file, () => file.close()), size: info.size };
  } catch (error) {
    file.close();
    throw error;
  }
}

function checkFile(path: string | URL, { isFile, size }: Deno.FileInfo): void {
  if (!isFile) throw notAllowedError("path", `${path} is not a regular file`);
  if (size > MAX_LENGTH) throw notAllowedError("path", `${path} has more than ${MAX_LENGTH} bytes`);
}
