/** Directories of two devices, with a server for one of them. */

import type { App, AppFunction } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";
import { isReserved } from "@degu/internal/files/reserved.ts";
import { entries, tempDir } from "./directories.ts";
import { serve } from "./serving.ts";

/** Two directories: `there` is served, `here` belongs to a client of the server. */
export async function serveFiles(
  makeApp: (dir: string) => App = (dir) => new FilesApp(dir),
) {
  const there = await tempDir();
  const here = await tempDir();
  const app = makeApp(there.path);
  const handle: AppFunction = typeof app === "function" ? app : (...args) => app.handle(...args);
  // A closed server does not wait for its app, whose work must not reach into the next test.
  const working = new Set<Promise<unknown>>();
  const serving = serve(async (...args) => {
    const answer = Promise.resolve(handle(...args));
    working.add(answer);
    try {
      return await answer;
    } finally {
      working.delete(answer);
    }
  });
  return {
    there: there.path,
    here: here.path,
    serving,
    client: serving.makeClient(),
    [Symbol.asyncDispose]: async () => {
      await serving[Symbol.asyncDispose]();
      await Promise.allSettled(working);
      await there[Symbol.asyncDispose]();
      await here[Symbol.asyncDispose]();
    },
  };
}

/** Random bytes: no two files, and no two pieces of one, are the same. */
export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65536) {
    crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65536)));
  }
  return bytes;
}

/** The names that are served from a directory. */
export async function visible(dir: string): Promise<string[]> {
  return (await entries(dir)).filter((name) => !isReserved(dir, name));
}

/** The unfinished files of a FilesApp. */
export async function partsOf(dir: string): Promise<string[]> {
  const [reserved] = (await entries(dir)).filter((name) => isReserved(dir, name));
  return reserved === undefined ? [] : await entries(`${dir}/${reserved}`);
}
