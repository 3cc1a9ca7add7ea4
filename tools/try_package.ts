/**
 * Installs the package in a fresh project, as its users do, and runs programs with it:
 * `deno task package`.
 *
 * Exactly the files that `deno publish` would upload are served over loopback, in the place of JSR.
 * A project in a temporary directory maps `@degu/degu` to them, and fills an empty cache of its
 * own. Then the server is closed, and each program runs from the cache alone, with the permissions
 * that it needs and no others.
 *
 * At last a program that imports every public module through `links`, which makes Deno check the
 * library's own code with the options of the program, is type-checked under each set of compiler
 * options that a program may have.
 */

import { runCommand } from "../tests/support/commands.ts";
import { PROJECT_ROOT } from "./standard_library.ts";

/** A program of the fresh project, and its way to run. */
interface Program {
  readonly name: string;
  readonly source: string;
  /** The permissions; `null` if another program loads this one. */
  readonly flags: readonly string[] | null;
}

const SECONDS = 60;
const PROGRAMS = new URL("tools/package/programs/", PROJECT_ROOT);
const NET = "--allow-net=127.0.0.1";

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

const files = await publishedFiles();
const { exports, imports: own, version } = JSON.parse(
  await Deno.readTextFile(new URL("deno.json", PROJECT_ROOT)),
);
const dir = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-package-" });
try {
  await tryPackage();
  console.log(`The package of ${files.length} files works in a fresh project.`);
} finally {
  await Deno.remove(dir, { recursive: true });
}

async function tryPackage(): Promise<void> {
  const programs = await findPrograms();
  await Deno.mkdir(`${dir}/project`);
  await Deno.mkdir(`${dir}/tmp`);
  for (const { name, source } of programs) {
    await Deno.writeTextFile(`${dir}/project/${name}`, source);
  }
  {
    await using server = serveFiles();
    const { port } = server.addr;
    await writeConfiguration(`http://127.0.0.1:${port}/`);
    const names = programs.map(({ name }) => name);
    await runDeno(["check", `--allow-import=127.0.0.1:${port}`, ...names]);
  }
  for (const { name, flags } of programs) {
    if (flags === null) continue;
    await runDeno(["run", "--no-prompt", "--cached-only", ...flags, name]);
    console.log(`PASS ${name}`);
  }
  await checkLinked();
}

/**
 * Type-checks a program that imports the library through `links`, under each set of compiler
 * options.
 */
async function checkLinked(): Promise<void> {
  for (const path of new Set(["deno.json", ...files])) {
    await Deno.mkdir(new URL(".", `file://${dir}/linked/${path}`), { recursive: true });
    await Deno.copyFile(new URL(path, PROJECT_ROOT), `${dir}/linked/${path}`);
  }
  for (const compilerOptions of COMPILER_OPTIONS) {
    const configuration = {
      links: ["../linked"],
      imports: { "@degu/degu": `jsr:@degu/degu@${version}` },
      lock: false,
      compilerOptions,
    };
    await Deno.writeTextFile(`${dir}/project/deno.json`, JSON.stringify(configuration));
    const options = JSON.stringify(compilerOptions);
    await runDeno(["check", "entries.ts"]).catch((error) => {
      throw new Error(`through links, with the compiler options ${options}:\n${error.message}`);
    });
    console.log(`PASS the compiler options ${options}`);
  }
}

/** The files that `deno publish` would upload; throws if it fails, warns, or lists nothing. */
async function publishedFiles(): Promise<string[]> {
  const publishing = [Deno.execPath(), "publish", "--dry-run", "--allow-dirty"];
  const { success, stdout, stderr } = await runCommand(publishing, {
    cwd: PROJECT_ROOT,
    env: { NO_COLOR: "1" },
  });
  const output = stdout + stderr;
  const urls = [...output.matchAll(/^ *(file:\S+) \([\d.]+ ?[KM]?i?B\)$/gm)].map(([, url]) => url!);
  const isRight = urls.length > 0 && urls.every((url) => url.startsWith(PROJECT_ROOT.href));
  if (success && isRight && !/^warning\b/mi.test(output)) {
    return urls.map((url) => decodeURIComponent(url.slice(PROJECT_ROOT.href.length)));
  }
  throw new Error(`deno publish fails, warns, or lists other files than those of here:\n${output}`);
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
    { name: "entries.ts", source: importAll(), flags: [] },
    ...blocks.map((source, i) => ({ name: `readme_${i + 1}.ts`, source, flags: everywhere })),
    await own("app.ts", null),
    await own("temp_server.ts", [NET, `--allow-read=${dir}/project`]),
    await own("files.ts", [NET, ...tmp]),
    await own("devices.ts", everywhere),
  ];
}

/** A program without any permission that loads every public module. */
function importAll(): string {
  const names = Object.keys(exports).map((name) => name.replace(/^\./, "@degu/degu"));
  return names.map((name) => `import ${JSON.stringify(name)};`).join("\n");
}

/**
 * A replacement of JSR; the package is below `/degu/`, the assertions of its examples below
 * `/std/`.
 */
function serveFiles(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url }) => {
    const [, root, path = ""] = /^\/(degu|std)\/(.*)$/.exec(new URL(url).pathname) ?? [];
    const file = root === "std" ? `tests/support/offline/${path}` : path;
    if (root !== "std" && !files.includes(path)) return new Response(null, { status: 404 });
    const text = await Deno.readTextFile(new URL(file, PROJECT_ROOT));
    return new Response(text, { headers: { "content-type": "application/typescript" } });
  });
}

async function writeConfiguration(url: string): Promise<void> {
  const imports: Record<string, string> = { "@std/assert": `${url}std/assert.ts` };
  // JSR writes what they are mapped to in their places.
  for (const [name, target] of Object.entries<string>(own)) {
    if (target.startsWith("npm:")) imports[name] = target;
  }
  for (const [name, path] of Object.entries<string>(exports)) {
    imports[name.replace(/^\./, "@degu/degu")] = new URL(path, `${url}degu/`).href;
  }
  await Deno.writeTextFile(`${dir}/project/deno.json`, JSON.stringify({ imports, lock: false }));
}

/** Runs Deno in the fresh project; prints its output if it fails. */
async function runDeno(args: readonly string[]): Promise<void> {
  const { success, stdout, stderr } = await runCommand([Deno.execPath(), ...args], {
    cwd: `${dir}/project`,
    env: {
      DENO_DIR: `${dir}/cache`,
      TMPDIR: `${dir}/tmp`,
      NO_COLOR: "1",
    },
    signal: AbortSignal.timeout(SECONDS * 1000),
  });
  if (!success) throw new Error(`deno ${args.join(" ")} failed:\n${stdout}${stderr}`);
}
