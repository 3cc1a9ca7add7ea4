/**
 * Names of files, as clients escape them in URLs: a table of the clients that put, get and list
 * each name; a table of what proxies in front of a Degu server make of paths with which they are
 * attacked; and a table of the files that other servers send behind a `ProxyApp`.
 */

import { Client, ProxyApp, Server, wrapApp } from "@degu/degu";
import { buildUri } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { build, type DeguServers, NOT_INSTALLED, problemOf, run } from "./programs.ts";
import { Notes, type Table } from "./tables.ts";

const DIRECTORY = import.meta.dirname ?? "";

const SIGNS = [..." !\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~"];
const NAMES = [
  ...SIGNS.map((sign) => `a${sign}b`),
  ...["a b c", "100%", "%41", "%2e%2e", "%2F", "..a", "...", ".a;", "Öl", "O\u0308l", "日本語"],
  ...["😀", "\u202egnp.exe", "\ufeffbom", "n".repeat(255), "é".repeat(127), "😀".repeat(63)],
];

interface NamesClient {
  readonly name: string;
  /**
   * Puts and gets the files with the names in the lines of a file, and lists their directory.
   * Returns a line for each name and the list, or `null` if the program isn't installed.
   */
  run(directory: string, namesFile: string): Promise<readonly string[] | null>;
}

const splitOutput = (text: string) => text.replace(/\n+$/, "").split("\n");

/** Makes a client whose program prints the lines. */
function makeClient(name: string, ...program: string[]): NamesClient {
  return {
    name,
    async run(directory, namesFile) {
      const result = await run([...program, directory, namesFile]);
      if (result === null || result.stderr.includes(`No module named '${name}'`)) return null;
      if (!result.success) throw new Error(problemOf(result));
      return splitOutput(result.stdout);
    },
  };
}

/** Makes a client whose program makes a request. */
function makeCommandClient(
  name: string,
  commandOf: (directory: string, name: string | null, file: string | null) => readonly string[],
): NamesClient {
  return {
    name,
    async run(directory, namesFile) {
      const scratchDirectory = await Deno.makeTempDir();
      try {
        const lines = [];
        for (const each of (await Deno.readTextFile(namesFile)).split("\n")) {
          const file = `${scratchDirectory}/${each}`;
          await Deno.writeTextFile(file, `=${each}`);
          const putResult = await run(commandOf(directory, each, file));
          if (putResult === null) return null;
          const getResult = await run(commandOf(directory, each, null));
          const statuses = [putResult, getResult].map((result) => result?.success ? "yes" : "no");
          lines.push(`${statuses.join(" ")} ${getResult?.stdout}`);
        }
        lines.push((await run(commandOf(directory, null, null)))?.stdout ?? "");
        return lines;
      } finally {
        await Deno.remove(scratchDirectory, { recursive: true });
      }
    },
  };
}

const curl = makeCommandClient("curl", (directory, name, file) => {
  const options = ["curl", "-g", "-sS", "--fail"];
  // curl escapes the name of an uploaded file. For a download, the user escapes the URL.
  if (file !== null) return [...options, "-o", "/dev/null", "-T", file, directory];
  return [...options, directory + encodeURIComponent(name ?? "")];
});

/** As a user may write the name: only the characters that can't be in a URL are escaped. */
const curlLiteral = makeCommandClient("curl, literal", (directory, name, file) => {
  const body = file === null ? [] : ["-X", "PUT", "--data-binary", `@${file}`, "-o", "/dev/null"];
  const path = name?.replace(/[^!$&'()*+,\-./0-9:;=@A-Z[\]^_a-z{|}~]/gu, encodeURIComponent) ?? "";
  return ["curl", "-g", "-sS", "--fail", ...body, directory + path];
});

const wget = makeCommandClient("wget", (directory, name, file) => {
  const body = file === null ? [] : ["--method=PUT", `--body-file=${file}`];
  // wget escapes all characters but those with a meaning in a URL.
  const path = name?.replace(/[%?#]/g, encodeURIComponent) ?? "";
  return ["wget", "-nv", "--tries=1", "--no-iri", "-O", "-", ...body, directory + path];
});

/** A page whose script runs in the browser; the browser gets the page and the list as by a user. */
const chromium: NamesClient = {
  name: "Chromium",
  async run(directory) {
    const dump = ["--headless", "--no-sandbox", "--disable-gpu", "--timeout=20000", "--dump-dom"];
    const page = new URL("../names.html", directory).href;
    const result = await run(["chromium", ...dump, "--virtual-time-budget=20000", page]);
    if (result === null) return null;
    const [, text = ""] = /<pre>([^<]*)<\/pre>/.exec(result.stdout) ?? [];
    if (text === "") throw new Error(problemOf(result));
    return splitOutput(decodeURIComponent(text));
  },
};

async function findClients(dir: string): Promise<NamesClient[]> {
  await build(["go", "build", "-o", `${dir}/names-program`, `${DIRECTORY}/names.go`]);
  const hasJava = await build(["javac", "-d", dir, `${DIRECTORY}/Names.java`]);
  return [
    curl,
    curlLiteral,
    wget,
    makeClient("fetch", "node", `${DIRECTORY}/names.mjs`, "encodeURIComponent"),
    makeClient("URL", "node", `${DIRECTORY}/names.mjs`, "URL"),
    makeClient("urllib", "python3", `${DIRECTORY}/names.py`, "urllib"),
    makeClient("requests", "python3", `${DIRECTORY}/names.py`, "requests"),
    makeClient("Go net/url", `${dir}/names-program`),
    hasJava
      ? makeClient("Java URI", "java", "-cp", dir, "Names")
      : { name: "Java URI", run: () => Promise.resolve(null) },
    chromium,
  ];
}

/** Lists the names for which a step failed, as a problem of a table. */
function describeFailures(isDone: (index: number) => boolean): string | null {
  const failures = NAMES.filter((_, index) => !isDone(index));
  return failures.length === 0 ? null : failures.map((name) => JSON.stringify(name)).join(" ");
}

export async function tryNames(
  _deguServers: DeguServers,
  _pki: unknown,
  dir: string,
): Promise<Table[]> {
  const notes = new Notes();
  const rows: string[][] = [];
  const namesFile = `${dir}/names.txt`;
  await Deno.writeTextFile(namesFile, NAMES.join("\n"));
  for (const client of await findClients(dir)) {
    const root = await Deno.makeTempDir();
    await Deno.mkdir(`${root}/to`);
    await Deno.copyFile(namesFile, `${root}/names`);
    await Deno.copyFile(`${DIRECTORY}/names.html`, `${root}/names.html`);
    // Without this header, a directory is a page for browsers.
    const headers = { accept: "application/json" };
    const app = wrapApp(
      new FilesApp(root, { write: true, list: true }),
      (next, request) => next(request.with({ headers })),
    );
    await using server = await Server.start(
      ["127.0.0.1", 0],
      app,
      { logger: { debug() {}, info() {}, warn() {}, error: console.error } },
    );
    try {
      const lines = await client.run(`http://127.0.0.1:${server.address[1]}/to/`, namesFile);
      if (lines === null) {
        console.log(`${client.name}: not installed`);
        rows.push([client.name]);
        continue;
      }
      const storedNames = new Set(Array.from(Deno.readDirSync(`${root}/to`), ({ name }) => name));
      const list: { readonly name: string }[] = JSON.parse(lines.slice(NAMES.length).join("\n"));
      const listedNames = new Set(list.map(({ name }) => name));
      const putProblem = describeFailures((i) =>
        storedNames.has(NAMES[i]!) && /^(?:201|yes) /.test(lines[i]!)
      );
      const getProblem = describeFailures((i) =>
        new RegExp(`^\\w+ (?:200|yes) `).test(lines[i]!) && lines[i]!.endsWith(` =${NAMES[i]}`)
      );
      const listProblem = describeFailures((i) => listedNames.has(NAMES[i]!));
      const problems = [putProblem, getProblem, listProblem];
      rows.push([client.name, ...problems.map((problem) => notes.formatCell(problem))]);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  }
  return [{ header: ["client of names", "put", "get", "list"], rows, notes: notes.texts }];
}

/** Targets with which proxies are attacked. */
const ATTACKS = {
  "%2F": "/x/a%2Fb",
  "%2E%2E": "/x/%2E%2E/b",
  "..%2F": "/x/..%2Fb",
  "%5C": "/x/..%5Cb",
  ";": "/x/a;b",
  "..;": "/x/..;/b",
  "%00": "/x/a%00b",
  "%252e": "/x/%252e%252e/b",
  "%252F": "/x/a%252Fb",
  "%61": "/x/%61",
  "//": "/x//b",
} as const;

/** Returns what a proxy makes of each target: a status, or the path that a Degu app gets. */
export async function tryAttacks(port: number, takePath: () => string[] | null): Promise<string[]> {
  const cells = [];
  for (const target of Object.values(ATTACKS)) {
    takePath();
    const format = ["-w", "%{http_code}", "-o", "/dev/null", "-sS", "--path-as-is"];
    const result = await run(["curl", ...format, "-g", `http://127.0.0.1:${port}${target}`]);
    const path = takePath();
    if (result === null) cells.push(NOT_INSTALLED);
    else cells.push(path === null ? result.stdout : path.map((c) => JSON.stringify(c)).join(" "));
  }
  return cells;
}

export const ATTACK_COLUMNS: readonly string[] = Object.keys(ATTACKS);

const FILE_NAMES = ["a b", "ü", "a;b", "a\\b", "%2e%2e", "%41", "a+b", "a?b", "(a)"];
export const FILE_COLUMNS: readonly string[] = FILE_NAMES;

export async function writeNamedFiles(directory: string): Promise<void> {
  for (const name of FILE_NAMES) await Deno.writeTextFile(`${directory}/${name}`, name);
}

/** Gets each file from another server through a `ProxyApp`. */
export async function tryNamedFiles(port: number, notes: Notes): Promise<string[]> {
  await using proxyApp = new ProxyApp(new Client(["127.0.0.1", port]));
  await using proxy = await Server.start(["127.0.0.1", 0], proxyApp);
  const client = new Client(proxy.address);
  const cells = [];
  for (const name of FILE_NAMES) {
    const response = await client.request("GET", buildUri([name]));
    const text = await response.text();
    // This server has one file for all paths.
    if (text === "0123456789") cells.push("–");
    else {cells.push(
        notes.formatCell(text === name ? null : `${response.status} ${text.slice(0, 40)}`),
      );}
  }
  return cells;
}
