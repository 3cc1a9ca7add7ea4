/** Makes a temporary directory that is removed on dispose. */
export async function createTempDir(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "degu-test-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Lists the names in a directory, sorted. */
export async function listNames(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir), (entry) => entry.name)).sort();
}

/** Reads the texts of a directory's files, by name. */
export async function readTexts(dir: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of await listNames(dir)) files[name] = await Deno.readTextFile(`${dir}/${name}`);
  return files;
}

/** Writes files with these texts; `null` makes a directory. */
export function fill(
  dir: string,
  content: Readonly<Record<string, string | null>>,
): Promise<void> {
  return Promise.try(() => {
    const madePaths = new Set<string>();
    for (const [path, text] of Object.entries(content)) {
      const fullPath = `${dir}/${path}`;
      const dirPath = text === null ? fullPath : fullPath.slice(0, fullPath.lastIndexOf("/"));
      if (!madePaths.has(dirPath)) Deno.mkdirSync(dirPath, { recursive: true });
      madePaths.add(dirPath);
      if (text !== null) Deno.writeTextFileSync(fullPath, text);
    }
  });
}

/**
 * Reads all entries below a directory: the texts of files, `null` for directories, and the kind of
 * any other entry.
 */
export function readTree(dir: string): Promise<Record<string, string | null>> {
  return Promise.try(() => readTreeSync(dir, ""));
}

/** Like {@linkcode fill}, synchronous, because asynchronous calls take several times as long. */
function readTreeSync(dir: string, prefix: string): Record<string, string | null> {
  const files: Record<string, string | null> = {};
  const dirEntries = [...Deno.readDirSync(dir)];
  const byName = dirEntries.toSorted((left, right) => left.name < right.name ? -1 : 1);
  for (const { name, isDirectory, isFile, isSymlink } of byName) {
    const path = `${dir}/${name}`;
    // Skip the server's directory of unfinished uploads.
    if (name === ".degu-files" && prefix === "") continue;
    if (isDirectory) {
      files[prefix + name] = null;
      Object.assign(files, readTreeSync(path, `${prefix}${name}/`));
    } else if (isFile) {
      files[prefix + name] = Deno.readTextFileSync(path);
    } else {
      files[prefix + name] = isSymlink ? "a link" : "something else";
    }
  }
  return files;
}

export async function readMode(path: string): Promise<number> {
  return ((await Deno.stat(path)).mode ?? 0) & 0o7777;
}

/** Lists the names in a directory, without the versions in the names of parts of downloads. */
export async function listNamesWithoutVersions(path: string): Promise<string[]> {
  const names = await listNames(path);
  return names.map((name) => name.replace(/\.[0-9a-f]{16,32}(?=\.degu-part$)/, ""));
}

/** Returns the size of the part of a download in a directory, or `null` if there is none. */
export async function readPartSize(path: string): Promise<number | null> {
  const part = await findPart(path);
  return part === null ? null : (await Deno.stat(part)).size;
}

/** Finds the part of a download in a directory; returns its path, or `null`. */
export async function findPart(path: string): Promise<string | null> {
  const name = (await listNames(path)).find((name) => /\.[0-9a-f]{32}\.degu-part$/.test(name));
  return name === undefined ? null : `${path}/${name}`;
}

/** Waits until a directory has a matching file, at any depth. */
export async function waitForFile(
  dir: string,
  matches: (name: string, size: number) => boolean,
): Promise<void> {
  using watcher = Deno.watchFs(dir, { recursive: true });
  const hasMatch = async (path: string): Promise<boolean> => {
    // A directory of unfinished files is removed when it is empty.
    const entries = await Array.fromAsync(Deno.readDir(path)).catch((error) => {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    });
    for (const { name, isFile, isDirectory } of entries) {
      const info = await Deno.stat(`${path}/${name}`).catch(() => null);
      if (isFile && info !== null && matches(name, info.size)) return true;
      if (isDirectory && await hasMatch(`${path}/${name}`)) return true;
    }
    return false;
  };
  if (await hasMatch(dir)) return;
  for await (const _event of watcher) if (await hasMatch(dir)) return;
}
