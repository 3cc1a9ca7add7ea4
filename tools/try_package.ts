/**
 * Publishes the packages to a registry on loopback, installs them in a new project, as users do,
 * and runs programs with them: `deno task package`.
 *
 * The registry replaces JSR, and serves exactly the files that `deno publish` has uploaded, with
 * the specifiers that `deno publish` has rewritten. A project in a temporary directory fills its
 * own empty cache. Then the registry is closed, and each program runs from the cache, with only the
 * permissions that it needs. `degu` is installed with the command in its guide, and also runs from
 * the cache.
 *
 * Then a program that imports every public module through `links` is type-checked with each set
 * of compiler options. With `links`, Deno also checks the code of the packages with these options.
 *
 * Finally, the archive of `deno task archive` is written to `dist/`.
 */

import { assertEquals } from "../tests/support/offline/assert.ts";
import { runCommand, runOrThrow } from "../tests/support/commands.ts";
import { makeArchive } from "./archive.ts";
import {
  listFiles,
  listPublishedFiles,
  type Package,
  readEntries,
  readPackages,
} from "./packages.ts";
import { PROJECT_ROOT } from "./standard_library.ts";
import { distribute, ignoreNotFound } from "./test_modules.ts";
import { fromFileUrl } from "../tests/support/offline/path.ts";

interface Program {
  readonly name: string;
  readonly source: string;
  /** The permissions; `null` if another program loads this one. */
  readonly flags: readonly string[] | null;
}

const COMMAND_TIMEOUT_SECONDS = 600;
const PROGRAMS = new URL("tools/package/programs/", PROJECT_ROOT);
const NET = "--allow-net=127.0.0.1";

/** The expected warning: a worker imports the module of an app by its absolute URL. */
const KNOWN_WARNING = /^warning\[unanalyzable-dynamic-import\].*\n *--> .*\/worker\/load_app\.ts:/m;

/** Compiler options besides `strict` that make the type check stricter. */
const STRICTER_OPTIONS = [
  "exactOptionalPropertyTypes",
  "noUncheckedIndexedAccess",
  "noImplicitOverride",
  "noImplicitReturns",
  "noFallthroughCasesInSwitch",
  "useUnknownInCatchVariables",
  "noUnusedLocals",
  "noUnusedParameters",
];
/** The types of a browser and of Deno, a common combination with web frameworks. */
const LIB = ["dom", "dom.iterable", "dom.asynciterable", "deno.ns", "deno.unstable"];
const allStrict = Object.fromEntries(["strict", ...STRICTER_OPTIONS].map((name) => [name, true]));
const COMPILER_OPTIONS: readonly Readonly<Record<string, unknown>>[] = [
  {},
  { strict: true },
  ...STRICTER_OPTIONS.map((name) => ({ [name]: true })),
  allStrict,
  { lib: ["dom", "deno.ns", "deno.unstable"] },
  { lib: LIB },
  { lib: LIB, ...allStrict },
];

const packages = await readPackages();
const [{ version }] = packages;
const dir = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-package-" });
try {
  await tryPackages();
  console.log("The packages work in a fresh project.");
} finally {
  await Deno.remove(dir, { recursive: true });
}

async function tryPackages(): Promise<void> {
  const programs = await findPrograms();
  for (const name of ["project/std", "tmp", "published"]) {
    await Deno.mkdir(`${dir}/${name}`, { recursive: true });
  }
  for (const { name, source } of programs) {
    await Deno.writeTextFile(`${dir}/project/${name}`, source);
  }
  for (const name of ["assert.ts", "equal.ts"]) {
    const sourceUrl = new URL(`tests/support/offline/${name}`, PROJECT_ROOT);
    await Deno.copyFile(sourceUrl, `${dir}/project/std/${name}`);
  }
  await writeConfiguration({});
  let registryUrl;
  {
    await using registry = serveRegistry();
    registryUrl = `http://127.0.0.1:${registry.addr.port}/`;
    for (const item of packages) await publish(item, registryUrl);
    await runDeno(["check", ...programs.map(({ name }) => name)], registryUrl);
    await installProgram(registryUrl);
  }
  for (const { name, flags } of programs) {
    if (flags === null) continue;
    await runDeno(["run", "--no-prompt", "--cached-only", ...flags, name], registryUrl);
    console.log(`PASS ${name}`);
  }
  await runInstalledProgram(registryUrl);
  await checkLinkedPackages();
  console.log(`PASS ${await makeArchive(fromFileUrl(new URL("dist", PROJECT_ROOT)))}`);
}

/**
 * Publishes a package, and then once more, which must change nothing; throws if `deno publish`
 * fails, prints an unexpected warning, or uploads other files than its `deno.json` and the files
 * that `include` in this file lists.
 */
async function publish(item: Package, registryUrl: string): Promise<void> {
  const { directory, name } = item;
  const { success, output } = await runPublish(item, registryUrl);
  const isPublished = output.includes(`Successfully published ${name}@${version}`);
  if (!success || !isPublished || /^warning\b/mi.test(output.replace(KNOWN_WARNING, ""))) {
    throw new Error(`deno publish of ${name} failed or printed a warning:\n${output}`);
  }
  const path = `${dir}/published/${name}/${version}/`;
  const uploaded = (await listFiles(path)).map((file) => file.slice(path.length));
  const included = [...await listPublishedFiles(item), `${directory}deno.json`]
    .map((file) => file.slice(directory.length)).toSorted();
  assertEquals(uploaded, included);
  const repeated = await runPublish(item, registryUrl);
  if (!repeated.success || !repeated.output.includes("already published")) {
    throw new Error(`a second deno publish of ${name} failed:\n${repeated.output}`);
  }
  console.log(`PASS deno publish of ${name}: ${uploaded.length} files`);
}

async function runPublish(
  { directory }: Package,
  registryUrl: string,
): Promise<{ success: boolean; output: string }> {
  const { success, stdout, stderr } = await runCommand(
    [Deno.execPath(), "publish", "--allow-dirty", "--no-provenance", "--token=any"],
    {
      cwd: new URL(directory, PROJECT_ROOT),
      env: { JSR_URL: registryUrl, NO_COLOR: "1" },
    },
  );
  return { success, output: stdout + stderr };
}

/** Serves a registry with the part of JSR's API that `deno publish` and imports need. */
function serveRegistry(): Deno.HttpServer<Deno.NetAddr> {
  const root = `${dir}/published`;
  const respondNotFound = () => Response.json({ code: "packageVersionNotFound" }, { status: 404 });
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    const [, publishedName, isVersion] =
      /^\/api\/scopes\/degu\/packages\/(\w+)(\/versions\/[\d.]+)?$/.exec(pathname) ?? [];
    if (publishedName !== undefined) {
      const packageInfo = {
        scope: "degu",
        name: publishedName,
        description: "",
        latestVersion: null,
      };
      if (!isVersion) return Response.json(packageInfo);
      const path = `${root}/@degu/${publishedName}/${version}`;
      if (request.method !== "POST") {
        const info = await Deno.stat(path).catch(ignoreNotFound);
        return info === null ? respondNotFound() : Response.json({});
      }
      await unpack(new Uint8Array(await request.arrayBuffer()), path);
      const task = { id: crypto.randomUUID(), status: "success", error: null };
      const versionInfo = {
        packageScope: "degu",
        packageName: publishedName,
        packageVersion: version,
      };
      return Response.json({ ...task, ...versionInfo });
    }
    const [, name, file = ""] = /^\/(@degu\/\w+)\/(.+)$/.exec(pathname) ?? [];
    const publishedPackage = packages.find((item) => item.name === name);
    if (publishedPackage === undefined) return respondNotFound();
    if (file === "meta.json") {
      return Response.json({ versions: { [version]: {} }, latest: version });
    }
    if (file === `${version}_meta.json`) {
      return Response.json(await makeManifest(publishedPackage, `${root}/${name}/${version}`));
    }
    const bytes = await Deno.readFile(`${root}/${name}/${file}`).catch(ignoreNotFound);
    const headers = { "content-type": "application/typescript" };
    return bytes === null ? respondNotFound() : new Response(bytes, { headers });
  });
}

async function unpack(archive: Uint8Array, directory: string): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeFile(`${directory}.tgz`, archive);
  await runOrThrow(["tar", "-xzf", `${directory}.tgz`, "-C", directory]);
  await setModes(directory);
}

/** Sets the modes 644 and 755: `deno publish` uploads the mode 000, and others depend on the umask. */
async function setModes(directory: string): Promise<void> {
  await runOrThrow(["chmod", "-R", "u=rwX,go=rX", directory]);
}

async function makeManifest({ directory, name, entries }: Package, path: string): Promise<unknown> {
  const manifest: Record<string, unknown> = {};
  for (const file of await listFiles(`${path}/`)) {
    const bytes = await Deno.readFile(file);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
    manifest[file.slice(path.length)] = { size: bytes.length, checksum: `sha256-${hash}` };
  }
  const exports = Object.fromEntries(
    [...entries].map(([entry, module]) => [
      `.${entry.slice(name.length)}`,
      `./${module.slice(directory.length)}`,
    ]),
  );
  return { manifest, exports };
}

async function installProgram(registryUrl: string): Promise<void> {
  const page = await Deno.readTextFile(new URL("agent/docs/guide.md", PROJECT_ROOT));
  const [, command = ""] = /^deno (install [^`]*? jsr:@degu\/agent)$/m.exec(page) ?? [];
  const args = command.split(/[\s\\]+/);
  await runDeno([...args, `--root=${dir}/installed`], registryUrl);
}

async function runInstalledProgram(registryUrl: string): Promise<void> {
  const run = (...args: string[]) =>
    runInProject([`${dir}/installed/bin/degu`, ...args], registryUrl);
  assertEquals(await run("--version"), `${version}\n`);
  const home = (name: string) => ["--home", `${dir}/tmp/${name}`];
  for (const name of ["one", "two"]) await run(...home(name), "init", "--name", name);
  assertEquals(await run(...home("one"), "peers"), "");
  console.log("PASS degu, installed from the registry");
}

async function checkLinkedPackages(): Promise<void> {
  const links = packages.map(({ name }) => `../published/${name}/${version}`);
  // The compiler uses one core. Each of two workers has a configuration of its own.
  await distribute(["deno_1.json", "deno_2.json"], COMPILER_OPTIONS, async (name, options) => {
    await writeConfiguration({ links, compilerOptions: options }, name);
    const text = JSON.stringify(options);
    await runDeno(["check", "--config", name, "entries.ts"]).catch((error) => {
      throw new Error(`through links, with the compiler options ${text}:\n${error.message}`);
    });
    console.log(`PASS the compiler options ${text}`);
  });
}

async function findPrograms(): Promise<Program[]> {
  const tmp = [`--allow-read=${dir}/tmp`, `--allow-write=${dir}/tmp`];
  const standardFlags = [NET, ...tmp, "--allow-sys=uid"];
  const readProgram = async (name: string, flags: Program["flags"]) => ({
    name,
    source: await Deno.readTextFile(new URL(name, PROGRAMS)),
    flags,
  });
  const readme = await Deno.readTextFile(new URL("README.md", PROJECT_ROOT));
  const examples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = ""]) => code);
  if (examples.length === 0) throw new Error("README.md has no example");
  // Servers run until a signal; tests/project/examples_test.ts runs those of README.md.
  const blocks = examples.filter((code) => !code.includes("serveUntilSignal"));
  return [
    { name: "entries.ts", source: await makeImportingProgram(), flags: [] },
    ...blocks.map((source, i) => ({ name: `readme_${i + 1}.ts`, source, flags: standardFlags })),
    await readProgram("app.ts", null),
    await readProgram("temp_server.ts", [NET, `--allow-read=${dir}/project`]),
    await readProgram("files.ts", [NET, ...tmp]),
    await readProgram("devices.ts", standardFlags),
  ];
}

async function makeImportingProgram(): Promise<string> {
  const names = [...(await readEntries()).keys()];
  return names.map((name) => `import ${JSON.stringify(name)};`).join("\n");
}

/** Writes the `deno.json` of the new project, which maps `@std/assert` to a file of the project. */
async function writeConfiguration(
  options: Readonly<Record<string, unknown>>,
  name = "deno.json",
): Promise<void> {
  const imports = {
    "@std/assert": "./std/assert.ts",
    ...Object.fromEntries(packages.map(({ name }) => [name, `jsr:${name}@${version}`])),
  };
  const configuration = { ...options, imports, lock: false };
  await Deno.writeTextFile(`${dir}/project/${name}`, JSON.stringify(configuration));
}

async function runDeno(args: readonly string[], registryUrl = ""): Promise<void> {
  await runInProject([Deno.execPath(), ...args], registryUrl);
}

async function runInProject(command: readonly string[], registryUrl: string): Promise<string> {
  const signal = AbortSignal.timeout(COMMAND_TIMEOUT_SECONDS * 1000);
  const options = {
    cwd: `${dir}/project`,
    env: {
      DENO_DIR: `${dir}/cache`,
      TMPDIR: `${dir}/tmp`,
      NO_COLOR: "1",
      ...(registryUrl === "" ? {} : { JSR_URL: registryUrl }),
    },
    signal,
  };
  return await runOrThrow(command, options).catch((cause) => {
    if (!signal.aborted) throw cause;
    const problem = `took more than ${COMMAND_TIMEOUT_SECONDS} s, and was ended`;
    throw new Error(`${command.join(" ")} ${problem}: is this machine busy?`, { cause });
  });
}
