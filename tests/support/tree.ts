/** The files of the project, and the imports of its modules. */

import { listPublishedFiles, readConfigurations, readPackages } from "../../tools/packages.ts";
import { runOrThrow } from "./commands.ts";

export const ROOT: URL = new URL("../../", import.meta.url);

interface ModuleGraph {
  readonly modules: readonly ModuleInfo[];
}

/** A module with its imports, types included. */
interface ModuleInfo {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly specifier: string;
    readonly code?: { readonly specifier?: string };
  }[];
}

export function readProjectFile(path: string): Promise<string> {
  return Deno.readTextFile(new URL(path, ROOT));
}

/** The tasks of the project, by their names. */
export async function readTasks(): Promise<Readonly<Record<string, { readonly command: string }>>> {
  return (await readConfigurations()).get("")?.tasks ?? {};
}

/** The paths, relative to the project, of the files in a directory. */
export async function listFiles(dir: string, extension: string, deep = true): Promise<string[]> {
  const paths: string[] = [];
  for await (const entry of Deno.readDir(new URL(dir === "" ? "./" : `${dir}/`, ROOT))) {
    const path = dir === "" ? entry.name : `${dir}/${entry.name}`;
    if (entry.isFile && path.endsWith(extension)) paths.push(path);
    if (entry.isDirectory && deep) paths.push(...await listFiles(path, extension));
  }
  return paths.toSorted();
}

/** The pages that are published, of all packages. */
export async function listPublishedPages(): Promise<string[]> {
  const pages = (await allPublished()).filter((path) => path.endsWith(".md"));
  return pages.filter((path) => path !== "CHANGELOG.md");
}

/** The paths of the modules in the packages. */
export async function listLibraryFiles(): Promise<string[]> {
  return (await allPublished()).filter((path) => path.endsWith(".ts"));
}

async function allPublished(): Promise<string[]> {
  return (await Promise.all((await readPackages()).map(listPublishedFiles))).flat();
}

/** The lines of a module outside of comments. */
export async function codeOf(path: string): Promise<string> {
  const lines = (await readProjectFile(path)).split("\n");
  return lines.filter((line) => !/^\s*(\/\/|\/\*|\*)/.test(line)).join("\n");
}

/** The modules that these load, and these themselves, by a single run of `deno info`. */
export async function graphOf(paths: readonly string[]): Promise<ModuleGraph> {
  const imports = paths.map((path) => `import ${JSON.stringify(new URL(path, ROOT).href)};`);
  const source = `data:application/typescript,${encodeURIComponent(imports.join("\n"))}`;
  const json = await runOrThrow([Deno.execPath(), "info", "--json", "--no-npm", source], {
    cwd: ROOT,
  });
  const { modules }: ModuleGraph = JSON.parse(json);
  return { modules: modules.filter(({ specifier }) => specifier !== source) };
}

/** The target of an import: a path from the project's directory, or the specifier itself. */
function relativeToRoot(specifier: string, path: string): string {
  if (!specifier.startsWith(".")) return specifier;
  return new URL(specifier, new URL(path, ROOT)).href.slice(ROOT.href.length);
}

/** The imports of each module of the library, types included. */
export async function readLibraryImports(): Promise<Map<string, string[]>> {
  const paths = await listLibraryFiles();
  const { modules } = await graphOf(paths);
  return new Map(modules.flatMap(({ specifier, dependencies = [] }) => {
    const path = specifier.slice(ROOT.href.length);
    if (!specifier.startsWith(ROOT.href) || !paths.includes(path)) return [];
    return [[path, dependencies.map((it) => relativeToRoot(it.specifier, path))]];
  }));
}

/** The names that a module imports or exports from others, each with the path of its module. */
export async function readImportedNames(path: string): Promise<[target: string, name: string][]> {
  const lists = (await codeOf(path)).matchAll(
    /^(?:import|export)\s+(?:type\s+)?\{([^}]*)\}\s+from\s+"([^"]+)";/gm,
  );
  return [...lists].flatMap(([, list, specifier]) => {
    const names = list!.split(",").map((name) => name.trim().replace(/^type | as .*$/g, ""));
    const target = relativeToRoot(specifier!, path);
    return names.filter((name) => name !== "").map((name): [string, string] => [target, name]);
  });
}
