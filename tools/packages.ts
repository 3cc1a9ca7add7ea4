/** The packages of this workspace: the list for the tests, the tools, and publishing. */

import { PROJECT_ROOT } from "./standard_library.ts";

/** A package, as its `deno.json` describes it. */
export interface Package {
  /** The path from the project's directory: empty, or with a slash at its end. */
  readonly directory: string;
  readonly name: string;
  readonly version: string;
  /** The paths of the entries, from the project's directory, by their names: `@degu/degu/files`. */
  readonly entries: ReadonlyMap<string, string>;
  readonly imports: Readonly<Record<string, string>>;
  readonly include: readonly string[];
}

/** What the program imports of the library and no other program can; it is no interface. */
export const AGENT_SUPPORT = "agent_support.ts";

/** The `deno.json` of the root and of each member, by directory; those of tests have only imports. */
export async function readConfigurations(): Promise<Map<string, Configuration>> {
  const configurations = new Map<string, Configuration>();
  const root = await readJson("deno.json");
  configurations.set("", root);
  for (const member of root.workspace ?? []) {
    const directory = `${member.replace("./", "")}/`;
    configurations.set(directory, await readJson(`${directory}deno.json`));
  }
  return configurations;
}

/** The package of the root, then each member that has exports, in the order of publishing. */
export async function readPackages(): Promise<[library: Package, agent: Package, ...Package[]]> {
  const packages: Package[] = [];
  for (
    const [directory, { name, version, exports, imports, publish }] of await readConfigurations()
  ) {
    if (exports === undefined) continue;
    const byName = typeof exports === "string" ? { ".": exports } : exports;
    const entries = new Map(
      Object.entries(byName).map(([entry, path]) =>
        [`${name}${entry.slice(1)}`, path.replace("./", directory)] as const
      ),
    );
    const include = publish?.include ?? [];
    packages.push({
      ...{ directory, name: name!, version: version!, entries },
      ...{ imports: imports ?? {}, include },
    });
  }
  return packages as [Package, Package];
}

/** The entries of all packages that are an interface, with their names. */
export async function readEntries(): Promise<Map<string, string>> {
  const entries = (await readPackages()).flatMap((each) => [...each.entries]);
  return new Map(entries.filter(([, path]) => path !== AGENT_SUPPORT));
}

/** The paths of the files that a package publishes, from the project's directory, sorted. */
export async function publishedFiles({ directory, include }: Package): Promise<string[]> {
  const top = await Array.fromAsync(Deno.readDir(new URL(directory, PROJECT_ROOT)));
  const found = await Promise.all(top.map(async ({ name, isDirectory }) => {
    const isIncluded = include.includes(name) ||
      !isDirectory && name.endsWith(".ts") && include.includes("*.ts");
    if (!isIncluded) return [];
    return isDirectory ? await filesUnder(`${directory}${name}/`) : [`${directory}${name}`];
  }));
  return found.flat().toSorted();
}

/** The paths of a folder's files; a folder has a slash at its end, unless it is the project's. */
export async function filesUnder(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, PROJECT_ROOT))) {
    if (isDirectory) found.push(...await filesUnder(`${folder}${name}/`));
    else found.push(`${folder}${name}`);
  }
  return found.toSorted();
}

interface Configuration {
  readonly name?: string;
  readonly version?: string;
  readonly workspace?: readonly string[];
  readonly exports?: string | Readonly<Record<string, string>>;
  readonly imports?: Readonly<Record<string, string>>;
  readonly tasks?: Readonly<Record<string, { readonly command: string }>>;
  readonly publish?: { readonly include: readonly string[] };
}

async function readJson(path: string): Promise<Configuration> {
  return JSON.parse(await Deno.readTextFile(new URL(path, PROJECT_ROOT)));
}
