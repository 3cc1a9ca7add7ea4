/** What docs/interop.md says about other programs is what `deno task interop` runs. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { type CommandEnd, runCommand } from "@degu/testing/commands.ts";
import { read, ROOT } from "@degu/testing/tree.ts";
import { differencesFrom, findTable, type Table } from "../../tools/interop/tables.ts";

/** The configurations that are run, with the values that the page has in place of ports and paths. */
const VALUES: Record<string, string> = {
  CLIENT_BOTH: "client_both.pem",
  CLIENT_CERT: "client.pem",
  CLIENT_KEY: "client.key",
  DEGU: "8080",
  DEGU_TLS: "8443",
  PROXY: "80",
  PROXY_TLS: "81",
  SERVER_CA: "server_ca.pem",
};
const CONFIGURATIONS: Record<string, string> = {
  nginx: "nginx.conf",
  apache: "apache.conf",
  haproxy: "haproxy.cfg",
  caddyfile: "Caddyfile",
};

Deno.test("each configuration line on the page is in the configuration that is run", async () => {
  const page = await read("docs/interop.md");
  for (const [language, file] of Object.entries(CONFIGURATIONS)) {
    const text = (await read(`tools/interop/${file}`))
      .replaceAll(/\{([A-Z_]+)\}/g, (whole, name: string) => VALUES[name] ?? whole);
    const run = new Set(text.split("\n").map((line) => line.trim()));
    const blocks = [...page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))];
    assert(blocks.length > 0, language);
    const lines = blocks.flatMap(([, block = ""]) => block.split("\n").map((line) => line.trim()));
    assertEquals(lines.filter((line) => !run.has(line)), [], file);
  }
});

Deno.test("what the page says is refused is refused, with these messages", async (t) => {
  const { code, stdout, stderr } = await runInterop("refused");
  if (stdout.includes("not installed")) {
    // Left out with what is printed as the reason: a program that is missing.
    await t.step({ name: "curl or Node is not installed", ignore: true, fn() {} });
  }
  assertEquals(code, 0, stderr);
});

const PAGE = `
| client | get | put |
| --- | --- | --- |
| \`curl\` | yes | no (1) |
| wget | yes, or no (2) | – |

1. \`an error: …\`: do this
2. \`another error\`
`;

/** What was seen, and what is said of it. */
const SEEN: Record<string, [table: Partial<Table>, differences: string[]]> = {
  "the same": [{}, []],
  "a program that is not installed": [{ rows: [["curl"], ["wget", "yes", "–"]] }, []],
  "a cell": [
    { rows: [["curl", "no (2)", "no (1)"], ["wget", "yes", "–"]] },
    ['"curl", get: says yes; saw no another error'],
  ],
  "one of two possible cells": [{ rows: [["curl", "yes", "no (1)"], ["wget", "no (2)", "–"]] }, []],
  "none of two possible cells": [
    { rows: [["curl", "yes", "no (1)"], ["wget", "no (1)", "–"]] },
    ['"wget", get: says yes, or no another error; saw no an error: of a kind'],
  ],
  "the text of a note": [
    { notes: ["an accident", "another error"] },
    ['"curl", put: says no an error: …; saw no an accident'],
  ],
  "a row that the page lacks": [
    { rows: [["curl", "yes", "no (1)"], ["wget", "yes", "–"], ["httpie", "yes", "yes"]] },
    ['"httpie" has no row'],
  ],
  "a row that was not tried": [{ rows: [["curl", "yes", "no (1)"]] }, ['"wget" was not tried']],
  "a column": [
    { header: ["client", "get", "delete"] },
    ["the columns are client, get, put; they were client, get, delete"],
  ],
  "a table that the page lacks": [
    { header: ["server", "get", "put"] },
    ['no table has "server" as its first column'],
  ],
};

Deno.test("where a table of the page differs from what was seen is found", async (t) => {
  const same: Table = {
    header: ["client", "get", "put"],
    rows: [["curl", "yes", "no (1)"], ["wget", "yes", "–"]],
    notes: ["an error: of a kind", "another error"],
  };
  for (const [name, [seen, expected]] of Object.entries(SEEN)) {
    await t.step(name, () => {
      assertEquals(differencesFrom(PAGE, { ...same, ...seen }), expected);
    });
  }
});

Deno.test("the page has each table that is compared with it", async () => {
  const page = await read("docs/interop.md");
  for (const first of ["client", "request", "response", "server", "proxy"]) {
    assert((findTable(page, first)?.rows.length ?? 0) > 5, first);
  }
});

async function runInterop(part: string): Promise<CommandEnd> {
  const tool = fromFileUrl(new URL("tools/interop.ts", ROOT));
  const disk = ["--allow-read=.,/tmp", "--allow-write=/tmp"];
  const flags = ["--quiet", "--no-prompt", "--allow-net=127.0.0.1", ...disk, "--allow-run"];
  const env = { TMPDIR: "/tmp" };
  return await runCommand([Deno.execPath(), "run", ...flags, tool, part], { cwd: ROOT, env });
}
