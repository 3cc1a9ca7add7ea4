import { PROJECT_ROOT } from "./standard_library.ts";

export interface Package {
  /** The path from the project's directory, with a slash at the end; empty for the root. */
  readonly directory: string;
  readonly name: string;
  readonly version: string;
  /** The paths of the entries from the project's directory, by name: `@degu/degu/base`. */
  readonly entries: ReadonlyMap<string, string>;
  readonly imports: Readonly<Record<string, string>>;
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}

async function readConfigurations(): Promise<Map<string, Configuration>> {
  const configurations = new Map<string, Configuration>();
  const root = await readJson("deno.json");
  configurations.set("", root);
  for (const member of root.workspace ?? []) {
    const directory = `${member.replace("./", "")}/`;
    configurations.set(directory, await readJson(`${directory}deno.json`));
  }
  return configurations;
}

/** Reads the package of the root, then each member with exports, in the order of publishing. */
export async function readPackages(): Promise<[library: Package, ...Package[]]> {
  const packages: Package[] = [];
  for (
    const [directory, { name, version, exports, imports, publish }] of await readConfigurations()
  ) {
    if (exports === undefined) continue;
    const exportsByName = typeof exports === "string" ? { ".": exports } : exports;
    const entries = new Map(
      Object.entries(exportsByName).map(([entry, path]) =>
        [`${name}${entry.slice(1)}`, path.replace("./", directory)] as const
      ),
    );
    packages.push({
      directory,
      name: name!,
      version: version!,
      entries,
      imports: imports ?? {},
      include: publish?.include ?? [],
      exclude: publish?.exclude ?? [],
    });
  }
  return packages as [Package];
}

/** Reads the folders of tests, such as `files/tests`: the members of the workspace of this name. */
export async function readTestFolders(): Promise<string[]> {
  const { workspace = [] } = await readJson("deno.json");
  return workspace.map((member) => member.replace("./", "")).filter((path) =>
    /(?:^|\/)tests$/.test(path)
  );
}

/** Reads the entries of all packages. */
export async function readEntries(): Promise<Map<string, string>> {
  return new Map((await readPackages()).flatMap(({ entries }) => [...entries]));
}

/** Lists the files that a package publishes: sorted paths from the project's directory. */
export async function listPublishedFiles(
  { directory, include, exclude }: Package,
): Promise<string[]> {
  const rootEntries = await Array.fromAsync(Deno.readDir(new URL(directory, PROJECT_ROOT)));
  const paths = await Promise.all(rootEntries.map(async ({ name, isDirectory }) => {
    const isIncluded = include.includes(name) ||
      !isDirectory && name.endsWith(".ts") && include.includes("*.ts");
    if (!isIncluded) return [];
    return isDirectory ? await listFiles(`${directory}${name}/`) : [`${directory}${name}`];
  }));
  const isExcluded = (path: string) =>
    exclude.some((folder) => path.startsWith(`${directory}${folder}/`));
  return paths.flat().filter((path) => !isExcluded(path)).toSorted();
}

/** @param folder The path with a slash at the end; empty for the project's directory. */
export async function listFiles(folder: string): Promise<string[]> {
  const paths: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, PROJECT_ROOT))) {
    if (isDirectory) paths.push(...await listFiles(`${folder}${name}/`));
    else paths.push(`${folder}${name}`);
  }
  return paths.toSorted();
}

interface Configuration {
  readonly name?: string;
  readonly version?: string;
  readonly workspace?: readonly string[];
  readonly exports?: string | Readonly<Record<string, string>>;
  readonly imports?: Readonly<Record<string, string>>;
  readonly tasks?: Readonly<Record<string, { readonly command: string }>>;
  readonly publish?: {
    readonly include: readonly string[];
    readonly exclude?: readonly string[];
  };
}

async function readJson(path: string): Promise<Configuration> {
  return JSON.parse(await Deno.readTextFile(new URL(path, PROJECT_ROOT)));
}
