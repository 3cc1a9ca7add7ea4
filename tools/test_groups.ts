/**
 * The test modules in groups: each worker of `deno test` loads the library and compiles it, which takes longer than most
 * modules.
 *
 * @module
 */

import { PROJECT_ROOT } from "./standard_library.ts";

/** So many modules at most, so that there are enough groups for every processor. */
const MODULES_PER_GROUP = 12;

/** The folders with tests that take long begin first: what begins last should not be what ends last. */
const FIRST = /^tests\/(integration|project|pool|agent|device)\b/;

/**
 * Writes a module for each group, which imports the test modules of one folder, or some of them.
 *
 * @param directory where to write them
 * @returns the paths, in the order in which they should run
 */
export async function writeTestGroups(directory: string): Promise<string[]> {
  const folders = [...Map.groupBy(await testModules("tests"), folderOf)];
  const ordered = [
    ...folders.filter(([folder]) => FIRST.test(folder)),
    ...folders.filter(([folder]) => !FIRST.test(folder)),
  ];
  const paths: string[] = [];
  for (const [folder, modules] of ordered) {
    for (const [i, group] of distribute(modules).entries()) {
      const path = `${directory}/${folder.replaceAll("/", "-")}-${i + 1}.ts`;
      const imports = group.map((module) => `import ${JSON.stringify(urlOf(module))};\n`);
      await Deno.writeTextFile(path, imports.join(""));
      paths.push(path);
    }
  }
  return paths;
}

/** The paths of all test modules under a folder, sorted. */
async function testModules(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, PROJECT_ROOT))) {
    const path = `${folder}/${name}`;
    if (isDirectory) found.push(...await testModules(path));
    else if (name.endsWith("_test.ts")) found.push(path);
  }
  return found.sort();
}

/** Groups of about the same size; modules with similar names, which take about the same time, go to different ones. */
function distribute(modules: readonly string[]): string[][] {
  const count = Math.ceil(modules.length / MODULES_PER_GROUP);
  const groups: string[][] = Array.from({ length: count }, () => []);
  for (const [i, module] of modules.entries()) groups[i % count]!.push(module);
  return groups;
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

function urlOf(path: string): string {
  return new URL(path, PROJECT_ROOT).href;
}
