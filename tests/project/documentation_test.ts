/** References in the documentation, the examples and the tasks. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Client } from "@degu/degu/client";
import { replaceFigures, summaries } from "@degu/internal/bench/summary.ts";
import { readConfigurations, readEntries, readPackages } from "@degu/internal/tools/packages.ts";
import {
  listFiles,
  listLibraryFiles,
  listPublishedPages,
  readCode,
  readProjectFile,
  readTasks,
  ROOT,
} from "@degu/testing/tree.ts";

Deno.test("the offline import map has every name that the packages and their tests have", async () => {
  const path = "tests/support/offline/import_map.json";
  const map: Record<string, string> = JSON.parse(await readProjectFile(path)).imports;
  const urlOf = (name: string) => new URL(map[name] ?? "", new URL(path, ROOT)).href;
  const entries = (await readPackages()).flatMap((each) => [...each.entries]);
  const names = new Set<string>();
  for (const [name, target] of entries) {
    names.add(name);
    assertEquals(urlOf(name), new URL(target, ROOT).href, name);
  }
  for (const [directory, { imports = {} }] of await readConfigurations()) {
    for (const [name, target] of Object.entries(imports)) {
      if (names.has(name)) continue;
      names.add(name);
      const offlineTarget = map[name] ?? "";
      if (target.startsWith("jsr:")) assertMatch(offlineTarget, /^\.\/\w+\.ts$/, name);
      else if (target.startsWith("npm:")) assertEquals(offlineTarget, target, name);
      else assertEquals(urlOf(name), new URL(target, new URL(directory, ROOT)).href, name);
    }
  }
  assertEquals(new Set(Object.keys(map)), names);
});

Deno.test("the packages have one version, and import compatible versions of each other", async () => {
  const packages = await readPackages();
  const [{ version }] = packages;
  const names = packages.map(({ name }) => name);
  assertEquals(names, ["@degu/degu", "@degu/device", "@degu/files", "@degu/agent"]);
  for (const { name, imports, ...each } of packages) {
    assertEquals(each.version, version, name);
    for (const other of names.filter((other) => other in imports)) {
      assertEquals(imports[other], `jsr:${other}@^${version}`, name);
    }
  }
});

Deno.test("a published module can't import names of the tests' import map", async () => {
  const ofPackages = (await readPackages()).flatMap(({ imports }) => Object.keys(imports));
  assertEquals(ofPackages.filter((name) => /^@degu\/(?!(?:degu|device|files)$)/.test(name)), []);
});

Deno.test("each npm package has an exact version, and the library's packages are in a deno.json", async () => {
  const packages: string[] = [];
  for (const path of await listFiles("", "deno.json")) {
    packages.push(...Object.values<string>(JSON.parse(await readProjectFile(path)).imports ?? {}));
  }
  const library = new Set(await listLibraryFiles());
  // A package that only tests or tools need is imported in a module, because `deno task` loads all
  // packages of each deno.json.
  for (const path of await listFiles("", ".ts")) {
    const inPlace = [...(await readCode(path)).matchAll(/\b(?:from|import) ?\(?"(npm:[^"]+)"/g)];
    if (library.has(path)) assertEquals(inPlace, [], path);
    packages.push(...inPlace.map(([, target]) => target!));
  }
  const npm = packages.filter((each) => each.startsWith("npm:"));
  assert(npm.length > 0);
  for (const specifier of npm) assertMatch(specifier, /^npm:.[^@]+@\d+\.\d+\.\d+(\/.*)?$/);
});

Deno.test("the suite runs every code block of the documentation", async () => {
  const pages = await listPublishedPages();
  for (const path of [...pages, ...await listLibraryFiles()]) {
    const ignored = /^[ *]*```(ts|js|typescript|javascript)\b.*ignore.*$/m;
    assertEquals(ignored.exec(await readProjectFile(path))?.[0], undefined, path);
  }
});

/**
 * The code blocks in other languages than TypeScript, by their first line: the test that runs or
 * checks them, or the reason why they have no test.
 */
const OTHER_BLOCKS: Record<string, string> = {
  // agent.md, service.md and README.md
  "deno install --global --name degu --allow-env=HOME,XDG_STATE_HOME,LOCALAPPDATA,USERPROFILE,TERM --allow-net --allow-read --allow-write \\":
    "tests/project/agent_documentation_test.ts",
  "echo 'source <(degu completions bash)' >> ~/.bashrc":
    "it changes the files of a user; the completions are tested",
  "one$ degu pair": "agent/tests/long/first_minute_test.ts",
  "two$ degu send hello.txt": "agent/tests/long/first_minute_test.ts",
  "laptop$ degu pair": "tests/long/project/recording_test.ts",
  "old$ degu service remove": "agent/tests/inbox_test.ts moves such a directory",
  "desk$ df -h ~/Inbox": "it looks at the disk of a user",
  "new$ degu ls --inbox desk:": "agent/tests/inbox_test.ts moves such a copy",
  "degu ls one:                    # list the share": "tests/project/agent_documentation_test.ts",
  "degu --home ~/a init --name a": "agent/tests/device_commands_test.ts pipes an invite into join",
  "degu permissions put hello.txt one:": "tests/project/permissions_agent_test.ts runs such lines",
  "pg_dump db | degu put - one:db.sql": "agent/tests/streams_test.ts runs such commands",
  "deno cache jsr:@degu/agent@0.1.0": "JSR does not have the package yet",
  "[Unit]": "it serves a program of yours",
  "[Timer]": "it has a time of yours",
  "# Written by degu service install; degu service remove takes it away.":
    "tests/project/agent_documentation_test.ts",
  "systemctl --user restart degu": "it starts a service of the machine",
  "degu service install sync --delete --exclude .cache/ ~/Documents desk:Documents":
    "tests/project/permissions_agent_test.ts installs such services",
  '<?xml version="1.0" encoding="UTF-8"?>': "tests/project/agent_documentation_test.ts",
  "launchctl bootstrap gui/$(id -u) ~/Library/LaunchAgents/degu.plist": "it needs macOS",
  "degu sync --delete --exclude .cache/ ~/Documents desk:Documents":
    "tests/project/agent_documentation_test.ts",
  "ls ~/Inbox/laptop/.degu-kept                                  # the days":
    "agent/tests/keep_test.ts makes such versions",
  "desk$ degu restore --dry-run --at 2026-01-31T14:00 ~/Inbox/laptop/Documents ~/Inbox/laptop/Documents-restored":
    "agent/tests/restore_test.ts",
  "desk$ degu forget laptop": "agent/tests/restore_test.ts",
  "degu get --force --inbox desk:letter.txt ~/Documents/":
    "tests/project/agent_documentation_test.ts",
  "degu sync --settled 60 /var/lib/camera desk:camera": "tests/project/agent_documentation_test.ts",
  "degu sync --every 10 --move ~/Outbox desk:scans": "tests/project/agent_documentation_test.ts",
  "{": "tests/project/readme_project_test.ts",
  "PUT /inbox/new.jpg HTTP/1.1": "files/tests/reuse_test.ts",
  "deno run --config degu/deno.json --allow-net=127.0.0.1:8080 hello.ts":
    "tests/project/readme_project_test.ts",
  "npx -y deno task demo    # an app, a proxy in front of it, two paired devices, and 256 MiB through each":
    "it downloads Deno; tests/project/examples_test.ts runs the programs",
  "laptop$ degu send holiday.mp4": "tests/long/project/recording_test.ts",
  // protocol.md
  "[": "no program, but a list; files/tests/ compares such lists",
  "import hashlib, http.client, json, sys": "files/tests/bundle_test.ts",
  // interop.md: tests/project/interop_test.ts compares the configurations with the tested ones.
  "upstream degu {": "tests/project/interop_test.ts",
  "proxy_pass https://127.0.0.1:8443;": "tests/project/interop_test.ts",
  'ProxyPass "/" "http://127.0.0.1:8080/" nocanon': "tests/project/interop_test.ts",
  "SSLProxyEngine on": "tests/project/interop_test.ts",
  "backend degu": "tests/project/interop_test.ts",
  "http://:80 {": "tests/project/interop_test.ts",
  "proxy_cache files;": "tests/project/interop_test.ts",
  "sub vcl_recv {": "tests/project/interop_test.ts",
  // service.md, permissions.md, tls.md, tutorial.md
  "DENO_DIR=/opt/app/cache deno cache /opt/app/main.ts": "it starts a service of the machine",
  "deno run --no-prompt \\":
    "the host is not this one; tests/project/permissions_test.ts tries flags",
  'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=my servers" -addext keyUsage=critical,keyCertSign -keyout server_ca.key -out server_ca.pem':
    "tests/integration/tls_interop_test.ts",
  "curl --cacert server_ca.pem --cert client.pem --key client.key https://localhost:5984/":
    "tests/integration/tls_interop_test.ts",
  "deno run --config degu/deno.json --allow-net=127.0.0.1 --allow-read=. hello.ts":
    "tests/project/readme_project_test.ts",
};

Deno.test("each block of the documentation is run as TypeScript, has another test, or has a reason for none", async () => {
  const pages = await listPublishedPages();
  const unexplained: string[] = [];
  const firstLines = new Set<string>();
  for (const path of pages) {
    const { blocks, indented } = blocksOf(await readProjectFile(path));
    unexplained.push(...indented.map((line) => `${path}: an indented block is not run: ${line}`));
    for (const { language, firstLine } of blocks) {
      if (language === "ts") continue;
      firstLines.add(firstLine);
      if (!(firstLine in OTHER_BLOCKS)) unexplained.push(`${path}: ${language}: ${firstLine}`);
    }
  }
  assertEquals(unexplained, []);
  const rows = Object.entries(OTHER_BLOCKS);
  assertEquals(rows.filter(([firstLine]) => !firstLines.has(firstLine)), []);
  for (const [, reason] of rows) {
    const [path] = /^tests\/\S+\.ts/.exec(reason) ?? [];
    if (path !== undefined) assert((await readProjectFile(path)).length > 0, path);
  }
});

/** Returns the code blocks of a page by language, and the lines of indented blocks. */
function blocksOf(page: string) {
  const blocks: { language: string; firstLine: string }[] = [];
  const outside = page.replaceAll(
    /^( *)```(.*)\n([^]*?)^\1```$/gm,
    (_, _indent, language: string, code: string) => {
      blocks.push({ language, firstLine: code.split("\n")[0]!.trim() });
      return "";
    },
  );
  const indented: string[] = [];
  let isInList = false;
  for (const line of outside.split("\n")) {
    if (/^(?:[-*]|\d+\.) /.test(line)) isInList = true;
    else if (/^\S/.test(line)) isInList = false;
    if (!isInList && /^(?: {4}|\t)/.test(line)) indented.push(line.trim());
  }
  return { blocks, indented };
}

Deno.test("the pages of performance have the figures of bench/results.md", async () => {
  const results = await readProjectFile("bench/results.md");
  for (const summary of summaries) {
    const page = await readProjectFile(summary.path);
    assertEquals(page, replaceFigures(page, results, summary));
  }
});

Deno.test("the demo task runs as the demo's first line says", async () => {
  const command = (await readProjectFile("examples/demo.ts")).split("\n")[0]?.replace("// ", "");
  assertEquals((await readTasks())["demo"]?.command, command);
});

Deno.test("the page for users of Python Degu names its versions, their defaults, and features without a counterpart", async () => {
  const page = await readProjectFile("docs/coming_from.md");
  const rows = [...page.matchAll(/^\|(.*)\|$/gm)].map(([, row = ""]) =>
    row.split("|").map((cell) => cell.trim())
  );
  const cellsOf = (first: string) => rows.find(([cell = ""]) => cell.startsWith(first)) ?? [];
  assertEquals(cellsOf("Python Degu 0.1"), [
    "Python Degu 0.18 and 0.19",
    "Python Degu 0.3 to 0.11, if different",
    "Degu for Deno",
  ]);
  const app = cellsOf("`def app(session, request, api)`").at(-1)!;
  assertMatch(app, /^`\(request, session, api\) => …`/);
  assertMatch(cellsOf("`TempServer(address, app, **options)`").at(-1)!, /TempServer\.start/);
  const { timeout } = new Client(["127.0.0.1", 1]);
  assertMatch(cellsOf("`timeout` of a client")[1]!, /^65 s .*0\.19/);
  assertMatch(cellsOf("`timeout` of a client")[2]!, new RegExp(`^${timeout} s `));
  for (const missing of ["`session.credentials`", "a listening socket that another program"]) {
    assertMatch(cellsOf(missing)[1]!, /^Deno can't /);
  }
});

Deno.test("the reference of each public module is linked from a page of docs/", async () => {
  const text = (await Promise.all((await listPublishedPages()).map(readProjectFile))).join("\n");
  for (const name of (await readEntries()).keys()) {
    const url = `https://jsr.io/${name.replace(/^@degu\/\w+/, "$&/doc")}`;
    assert(text.includes(`(${url})`), url);
  }
});

Deno.test("each picture has a title and a description, and is on a page with alternative text", async () => {
  const pages = await listPublishedPages();
  const text = (await Promise.all(pages.map(readProjectFile))).join("\n");
  const folders = ["docs/pictures", "device/docs/pictures"];
  for (const path of (await Promise.all(folders.map((dir) => listFiles(dir, ".svg")))).flat()) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const [, alternative = ""] = new RegExp(`!\\[([^\\]]*)\\]\\(\\S*${name}\\)`).exec(text) ?? [];
    assert(alternative.length > 60, `${name} is on no page, or has no alternative`);
    const svg = await readProjectFile(path);
    assertMatch(svg, /<title id="title">[^<]+<\/title>/, path);
    assertMatch(svg, /<desc id="description">[^<]+<\/desc>/, path);
  }
});

Deno.test("the picture of the layers names every public module of the library, and every package", async () => {
  const svg = await readProjectFile("docs/pictures/layers.svg");
  for (const name of (await readEntries()).keys()) {
    const entry = name.replace("@degu/degu/", "/").replace(/^(@\w+\/\w+)\/.*/, "$1");
    assert(svg.includes(entry), `${entry} is missing`);
  }
});
