import { join } from "@std/path";

/** Makes a temporary directory that is removed on dispose. */
export async function tempDir(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "degu-test-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** The names in a directory, sorted. */
export async function entries(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir), (entry) => entry.name)).sort();
}

/** The texts in a directory's files, by name. */
export async function snapshot(dir: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of await entries(dir)) files[name] = await Deno.readTextFile(join(dir, name));
  return files;
}

/** The permission bits of a file or directory. */
export async function mode(path: string): Promise<number> {
  return ((await Deno.stat(path)).mode ?? 0) & 0o7777;
}

/** Makes many empty files, which is much faster with links to one of them. */
export function makeEmptyFiles(dir: string, names: readonly string[]): void {
  const [first = "", ...others] = names.map((name) => join(dir, name));
  Deno.createSync(first).close();
  for (const path of others) Deno.linkSync(first, path);
}

/** Writes ten bytes into a file, which keeps its size. */
export async function overwrite(path: string, at: number): Promise<void> {
  using file = await Deno.open(path, { write: true });
  await file.seek(at, Deno.SeekMode.Start);
  await file.write(new Uint8Array(10).fill(2));
}
