/**
 * Makes an archive with which Degu works without a registry: `deno task archive [DIRECTORY]` writes
 * `degu-VERSION.tar.gz`, by default to `dist/`. README.md and agent/docs/guide.md describe the use.
 *
 * The archive has the files of the packages for programs, and a `deno.json` that links them. Their
 * npm packages are modules in `vendor/`. `agent/` has the bundled program instead of its sources,
 * and a script that runs it; `install.sh` installs both. `licenses/` has the licenses of the npm packages.
 */

import { resolve } from "node:path";
import { runOrThrow } from "../tests/support/commands.ts";
import { fromFileUrl } from "../tests/support/offline/path.ts";
import { bundleNpmPackages, bundleProgram, LOCK_FLAGS } from "./bundle.ts";
import { listPublishedFiles, type Package, readPackages } from "./packages.ts";
import { PROJECT_ROOT } from "./standard_library.ts";

const ROOT = fromFileUrl(PROJECT_ROOT);

/** Writes the archive to a directory, and returns the path of the archive. */
export async function makeArchive(directory: string): Promise<string> {
  const packages = await readPackages();
  const name = `degu-${packages[0].version}`;
  const archive = `${directory}/${name}.tar.gz`;
  const parent = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-archive-" });
  try {
    await writeContents(`${parent}/${name}`, packages);
    // The modes don't depend on the umask.
    await runOrThrow(["chmod", "-R", "u=rwX,go=rX", parent]);
    await Deno.mkdir(directory, { recursive: true });
    await runOrThrow(["tar", "-czf", archive, "-C", parent, name]);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
  return archive;
}

async function writeContents(root: string, packages: readonly Package[]): Promise<void> {
  const links: string[] = [];
  const imports: Record<string, string> = {};
  for (const item of packages) {
    const name = item.name.slice("@degu/".length);
    const directory = `${root}/${name}`;
    if (name === "agent") {
      await bundleProgram(directory);
      await copyFiles(item, directory, /\.md$/);
      await Deno.copyFile(`${ROOT}tools/degu.sh`, `${directory}/degu`);
      await Deno.copyFile(`${ROOT}tools/install.sh`, `${root}/install.sh`);
    } else {
      await copyFiles(item, directory);
      await writeJson(`${directory}/deno.json`, await makeConfiguration(item, directory));
      links.push(`./${name}`);
      imports[item.name] = `jsr:${item.name}@^${item.version}`;
    }
  }
  await writeJson(`${root}/deno.json`, { links, imports });
  await copyLicenses(`${root}/licenses`);
}

async function copyFiles(item: Package, target: string, pattern = /^/): Promise<void> {
  for (const path of await listPublishedFiles(item)) {
    if (!pattern.test(path)) continue;
    const copy = `${target}/${path.slice(item.directory.length)}`;
    await Deno.mkdir(copy.slice(0, copy.lastIndexOf("/")), { recursive: true });
    await Deno.copyFile(ROOT + path, copy);
  }
}

/** Makes the configuration of a package, whose npm packages are modules in `vendor/`. */
async function makeConfiguration(item: Package, directory: string): Promise<unknown> {
  const { name, version, license, exports, imports = {} } = JSON.parse(
    await Deno.readTextFile(`${ROOT}${item.directory}deno.json`),
  );
  const targets = Object.entries<string>(imports);
  const npmPackages = targets.filter(([, target]) => target.startsWith("npm:"));
  if (npmPackages.length > 0) {
    await bundleNpmPackages(`${directory}/vendor`, Object.fromEntries(npmPackages));
  }
  const ownImports = Object.fromEntries([
    ...targets.filter(([name]) => name.startsWith("@degu/")),
    ...npmPackages.map(([name]) => [name, `./vendor/${name}.js`]),
  ]);
  return { name, version, license, exports, imports: ownImports };
}

/** Copies the licenses of all npm packages that the archive contains. */
async function copyLicenses(directory: string): Promise<void> {
  await Deno.mkdir(directory);
  const command = [Deno.execPath(), "info", "--json", ...LOCK_FLAGS, "agent/main.ts"];
  const { npmPackages } = JSON.parse(await runOrThrow(command, { cwd: ROOT }));
  for (const { name, localPath } of Object.values<Record<string, string>>(npmPackages)) {
    const files = (await Array.fromAsync(Deno.readDir(localPath!))).map(({ name }) => name);
    const license = files.find((file) => /^licen[cs]e/i.test(file));
    if (license === undefined) throw new Error(`the npm package ${name} has no license file`);
    await Deno.copyFile(`${localPath}/${license}`, `${directory}/${name!.replace("/", "-")}.txt`);
  }
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await Deno.writeTextFile(path, JSON.stringify(value, null, 2) + "\n");
}

if (import.meta.main) {
  const [path = `${ROOT}dist`, ...others] = Deno.args;
  if (path.startsWith("-") || others.length > 0) {
    console.error("usage: deno task archive [DIRECTORY]");
    Deno.exit(2);
  }
  // A task runs in the directory of deno.json.
  console.log(await makeArchive(resolve(Deno.env.get("INIT_CWD") ?? "", path)));
}
