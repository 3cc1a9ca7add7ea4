/** The files of the project, and the numbers that its pages state. */

import { assert } from "@std/assert";

export const ROOT: URL = new URL("../../", import.meta.url);

export function readProjectFile(path: string): Promise<string> {
  return Deno.readTextFile(new URL(path, ROOT));
}

/** Lists the files of a directory, relative to the project. */
export async function listFiles(dir: string, extension: string, deep = true): Promise<string[]> {
  const paths: string[] = [];
  for await (const entry of Deno.readDir(new URL(dir === "" ? "./" : `${dir}/`, ROOT))) {
    const path = dir === "" ? entry.name : `${dir}/${entry.name}`;
    if (entry.isFile && path.endsWith(extension)) paths.push(path);
    if (entry.isDirectory && deep) paths.push(...await listFiles(path, extension));
  }
  return paths.toSorted();
}

/** Reads a number from a page, across line breaks: the first group of the pattern. */
export async function readStatedNumber(page: string, pattern: RegExp): Promise<number> {
  const [, number] = pattern.exec((await readProjectFile(page)).replaceAll(/\s+/g, " ")) ?? [];
  assert(number !== undefined, `${page} doesn't say ${pattern}`);
  return Number(number.replaceAll(",", ""));
}
