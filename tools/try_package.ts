/**
 * Publishes the packages to a registry on loopback, installs them from there in a fresh project, as
 * their users do, and runs programs with them: `deno task package`.
 *
 * The registry takes the place of JSR. What it serves is exactly what `deno publish` has uploaded,
 * with the specifiers that this has written: the program has to find the version of the library
 * that it names. A project in a temporary directory fills an empty cache of its own. Then the
 * registry is closed, and each program runs from the cache alone, with the permissions that it
 * needs and no others; so does `degu`, installed as its page says.
 *
 * At last a program that imports every public module through `links`, which makes Deno check the
 * packages' own code with the options of the program, is type-checked under each set of compiler
 * options that a program may have.
 */

import { assertEquals } from "../tests/support/offline/assert.ts";
import { mustRun, runCommand } from "../tests/support/commands.ts";
import { type Package, readEntries, readPackages } from "./packages.ts";
import { PROJECT_ROOT } from "./standard_library.ts";

/** A program of the fresh project, and its way to run. */
interface Program {
  readonly name: string;
  readonly source: string;
  /** The permissions; `null` if another program loads this one. */
  readonly flags: readonly string[] | null;
}

const SECONDS = 120;
const PROGRAMS = new URL("tools/package/programs/", PROJECT_ROOT);
const NET = "--allow-net=127.0.0.1";

/** The one warning: a worker imports the module of an app by its absolute URL. */
const KNOWN_WARNING =
  /^warning\[unanalyzable-dynamic-import\].*\n *--> .*\/worker\/server_worker\.ts:/m;

/** The stricter options, all together, besides the plain ones. */
const STRICTER = [
  "exactOptionalPropertyTypes",
  "noUncheckedIndexedAccess",
  "noImplicitOverride",
  "noImplicitReturns",
  "noFallthroughCasesInSwitch",
  "useUnknownInCatchVariables",
];
/** The types of a browser and of Deno, a common combination with web frameworks. */
const LIB = ["dom", "dom.iterable", "dom.asynciterable", "deno.ns", "deno.unstable"];
const all = Object.fromEntries(["strict", ...STRICTER].map((name) => [name, true]));
/** The sets of compiler options under which the library's own code is type-checked. */
const COMPILER_OPTIONS: readonly Readonly<Record<string, unknown>>[] = [
  {},
  { strict: true },
  ...STRICTER.map((name) => ({ [name]: true })),
  all,
  { lib: ["dom", "deno.ns", "deno.unstable"] },
  { lib: LIB },
  { lib: LIB, ...all },
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
    const from = new URL(`tests/support/offline/${name}`, PROJECT_ROOT);
    await Deno.copyFile(from, `${dir}/project/std/${name}`);
  }
  await writeConfiguration({});
  let registryUrl;
  {
    await using registry = serveRegistry();
    registryUrl = `http://127.0.0.1:${registry.addr.port}/`;
    for (const each of packages) await publish(each, registryUrl);
    await runDeno(["check", ...programs.map(({ name }) => name)], registryUrl);
    await installProgram(registryUrl);
  }
  for (const { name, flags } of programs) {
    if (flags === null) continue;
    await runDeno(["run", "--no-prompt", "--cached-only", ...flags, name], registryUrl);
    console.log(`PASS ${name}`);
  }
  await runInstalled(registryUrl);
  await checkLinked();
}

/** Publishes a package; throws if that fails or warns of anything else. */
async function publish({ directory, name }: Package, registryUrl: string): Promise<void> {
  const { success, stdout, stderr } = await runCommand(
    [Deno.execPath(), "publish", "--allow-dirty", "--no-provenance", "--token=any"],
    {
      cwd: new URL(directory, PROJECT_ROOT),
      env: { JSR_URL: registryUrl, NO_COLOR: "1" },
    },
  );
  const output = stdout + stderr;
  const isPublished = output.includes(`Successfully published ${name}@${version}`);
  if (!success || !isPublished || /^warning\b/mi.test(output.replace(KNOWN_WARNING, ""))) {
    throw new Error(`deno publish of ${name} fails, or warns:\n${output}`);
  }
  console.log(`PASS deno publish of ${name}`);
}

/** Serves a registry with the interface of JSR, as far as `deno publish` and imports need it. */
function serveRegistry(): Deno.HttpServer<Deno.NetAddr> {
  const root = `${dir}/published`;
  const missing = () => Response.json({ code: "packageVersionNotFound" }, { status: 404 });
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    const [, ofApi, isVersion] =
      /^\/api\/scopes\/degu\/packages\/(\w+)(\/versions\/[\d.]+)?$/.exec(pathname) ?? [];
    if (ofApi !== undefined) {
      const described = { scope: "degu", name: ofApi, description: "", latestVersion: null };
      if (!isVersion) return Response.json(described);
      if (request.method !== "POST") return missing();
      await unpack(
        new Uint8Array(await request.arrayBuffer()),
        `${root}/@degu/${ofApi}/${version}`,
      );
      const task = { id: crypto.randomUUID(), status: "success", error: null };
      const published = { packageScope: "degu", packageName: ofApi, packageVersion: version };
      return Response.json({ ...task, ...published });
    }
    const [, name, file = ""] = /^\/(@degu\/\w+)\/(.+)$/.exec(pathname) ?? [];
    const published = packages.find((each) => each.name === name);
    if (published === undefined) return missing();
    if (file === "meta.json") {
      return Response.json({ versions: { [version]: {} }, latest: version });
    }
    if (file === `${version}_meta.json`) {
      return Response.json(await manifestOf(published, `${root}/${name}/${version}`));
    }
    const bytes = await Deno.readFile(`${root}/${name}/${file}`).catch(() => null);
    const headers = { "content-type": "application/typescript" };
    return bytes === null ? missing() : new Response(bytes, { headers });
  });
}

async function unpack(archive: Uint8Array, directory: string): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeFile(`${directory}.tgz`, archive);
  await mustRun(["tar", "-xzf", `${directory}.tgz`, "-C", directory]);
}

/** What JSR tells of a version: its entries, and the size and checksum of each file. */
async function manifestOf({ directory, name, entries }: Package, path: string): Promise<unknown> {
  const manifest: Record<string, unknown> = {};
  for (const file of await filesIn(path)) {
    const bytes = await Deno.readFile(`${path}/${file}`);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
    manifest[`/${file}`] = { size: bytes.length, checksum: `sha256-${hash}` };
  }
  const exports = Object.fromEntries(
    [...entries].map(([entry, module]) => [
      `.${entry.slice(name.length)}`,
      `./${module.slice(directory.length)}`,
    ]),
  );
  return { manifest, exports };
}

async function filesIn(directory: string, prefix = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${directory}/${prefix}`)) {
    if (isDirectory) found.push(...await filesIn(directory, `${prefix}${name}/`));
    else found.push(`${prefix}${name}`);
  }
  return found;
}

/** Installs the program from the registry, with the command of its page. */
async function installProgram(registryUrl: string): Promise<void> {
  const page = await Deno.readTextFile(new URL("agent/docs/guide.md", PROJECT_ROOT));
  const [, command = ""] = /^deno (install [^`]*? jsr:@degu\/agent)$/m.exec(page) ?? [];
  const args = command.split(/[\s\\]+/);
  await runDeno([...args, `--root=${dir}/installed`], registryUrl);
}

/** Runs the installed program from the cache: two devices are paired by a line. */
async function runInstalled(registryUrl: string): Promise<void> {
  const run = (...args: string[]) =>
    runInProject([`${dir}/installed/bin/degu`, ...args], registryUrl);
  assertEquals(await run("--version"), `${version}\n`);
  const home = (name: string) => ["--home", `${dir}/tmp/${name}`];
  for (const name of ["one", "two"]) await run(...home(name), "init", "--name", name);
  assertEquals(await run(...home("one"), "peers"), "");
  console.log("PASS degu, installed from the registry");
}

/**
 * Type-checks a program that imports the packages through `links`, under each set of compiler
 * options.
 */
async function checkLinked(): Promise<void> {
  const links = packages.map(({ name }) => `../published/${name}/${version}`);
  for (const compilerOptions of COMPILER_OPTIONS) {
    await writeConfiguration({ links, compilerOptions });
    const options = JSON.stringify(compilerOptions);
    await runDeno(["check", "entries.ts"]).catch((error) => {
      throw new Error(`through links, with the compiler options ${options}:\n${error.message}`);
    });
    console.log(`PASS the compiler options ${options}`);
  }
}

/**
 * The programs of tools/package/programs, those of the README that end, and a program that loads every public
 * module.
 */
async function findPrograms(): Promise<Program[]> {
  const tmp = [`--allow-read=${dir}/tmp`, `--allow-write=${dir}/tmp`];
  const everywhere = [NET, ...tmp, "--allow-sys=uid"];
  const own = async (name: string, flags: Program["flags"]) => ({
    name,
    source: await Deno.readTextFile(new URL(name, PROGRAMS)),
    flags,
  });
  const readme = await Deno.readTextFile(new URL("README.md", PROJECT_ROOT));
  const examples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = ""]) => code);
  if (examples.length === 0) throw new Error("README.md has no example");
  // A server ends by a signal alone; tests/project/readme_project_test.ts starts those of README.md.
  const blocks = examples.filter((code) => !code.includes("serveUntilSignal"));
  return [
    { name: "entries.ts", source: await importAll(), flags: [] },
    ...blocks.map((source, i) => ({ name: `readme_${i + 1}.ts`, source, flags: everywhere })),
    await own("app.ts", null),
    await own("temp_server.ts", [NET, `--allow-read=${dir}/project`]),
    await own("files.ts", [NET, ...tmp]),
    await own("devices.ts", everywhere),
  ];
}

/** A program without any permission that loads every public module. */
async function importAll(): Promise<string> {
  const names = [...(await readEntries()).keys()];
  return names.map((name) => `import ${JSON.stringify(name)};`).join("\n");
}

/** Writes the project's `deno.json`; the assertions of the examples are a file of the project. */
async function writeConfiguration(options: Readonly<Record<string, unknown>>): Promise<void> {
  const imports = {
    "@std/assert": "./std/assert.ts",
    ...Object.fromEntries(packages.map(({ name }) => [name, `jsr:${name}@${version}`])),
  };
  const configuration = { ...options, imports, lock: false };
  await Deno.writeTextFile(`${dir}/project/deno.json`, JSON.stringify(configuration));
}

/** Runs Deno in the fresh project; prints its output if it fails. */
async function runDeno(args: readonly string[], registryUrl = ""): Promise<void> {
  await runInProject([Deno.execPath(), ...args], registryUrl);
}

/** Runs a command in the fresh project, and returns what it prints. */
async function runInProject(command: readonly string[], registryUrl: string): Promise<string> {
  return await mustRun(command, {
    cwd: `${dir}/project`,
    env: {
      DENO_DIR: `${dir}/cache`,
      TMPDIR: `${dir}/tmp`,
      NO_COLOR: "1",
      ...(registryUrl === "" ? {} : { JSR_URL: registryUrl }),
    },
    signal: AbortSignal.timeout(SECONDS * 1000),
  });
}
