/** Random days of a directory that keeps versions, whose process is killed. */

import { isReservedName } from "@degu/degu/files";

/** Returns the paths of the files below a directory, without reserved ones. */
export function listFiles(dir: string, parent = ""): string[] {
  return [...Deno.readDirSync(`${dir}/${parent}`)].flatMap((entry) => {
    const path = `${parent}${entry.name}`;
    if (isReservedName(entry.name)) return [];
    return entry.isDirectory ? listFiles(dir, `${path}/`) : [path];
  });
}

/** Returns the content of each file. */
export function readFiles(dir: string): Record<string, string> {
  return Object.fromEntries(
    listFiles(dir).sort().map((path) => [path, Deno.readTextFileSync(`${dir}/${path}`)]),
  );
}
