/** The files of the project, and the imports of its modules. */

import { listPublishedFiles, readPackages } from "../../tools/packages.ts";
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
    readonly type?: { readonly specifier?: string };
  }[];
}

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

export async function listLibraryFiles(): Promise<string[]> {
  const paths = (await Promise.all((await readPackages()).map(listPublishedFiles))).flat();
  return paths.filter((path) => path.endsWith(".ts"));
}

/** Reads the lines of a module without comments. */
export async function readCode(path: string): Promise<string> {
  const lines = (await readProjectFile(path)).split("\n");
  return lines.filter((line) => !/^\s*(\/\/|\/\*|\*)/.test(line)).join("\n");
}

/** Reads the graph of some modules and the modules that they load, by one run of `deno info`. */
export async function readModuleGraph(paths: readonly string[]): Promise<ModuleGraph> {
  const imports = paths.map((path) => `import ${JSON.stringify(new URL(path, ROOT).href)};`);
  const source = `data:application/typescript,${encodeURIComponent(imports.join("\n"))}`;
  const json = await runOrThrow([Deno.execPath(), "info", "--json", "--no-npm", source], {
    cwd: ROOT,
  });
  const { modules }: ModuleGraph = JSON.parse(json);
  return { modules: modules.filter(({ specifier }) => specifier !== source) };
}

/** Returns the target of an import as a path in the project, or the specifier of a package. */
function resolveFromRoot(specifier: string, path: string): string {
  if (!specifier.startsWith(".")) return specifier;
  return new URL(specifier, new URL(path, ROOT)).href.slice(ROOT.href.length);
}

/** Reads the imports of each module of the library, types included. */
export async function readLibraryImports(): Promise<Map<string, string[]>> {
  const paths = await listLibraryFiles();
  const { modules } = await readModuleGraph(paths);
  return new Map(modules.flatMap(({ specifier, dependencies = [] }) => {
    const path = specifier.slice(ROOT.href.length);
    if (!specifier.startsWith(ROOT.href) || !paths.includes(path)) return [];
    return [[path, dependencies.map((dependency) => resolveFromRoot(dependency.specifier, path))]];
  }));
}
