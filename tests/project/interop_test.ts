/** What docs/interop.md says about other programs is what `deno task interop` runs. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { mustRun } from "@degu/testing/commands.ts";
import { read, ROOT } from "@degu/testing/tree.ts";

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
  const printed = await runInterop("refused");
  if (printed.includes("not installed")) {
    // Left out with what is printed as the reason: a program that is missing.
    await t.step({ name: printed.trim(), ignore: true, fn() {} });
    return;
  }
  const page = await read("docs/interop.md");
  const section = /^## What is refused by design$(.*?)^## /ms.exec(page)?.[1] ?? "";
  const messages = [...section.matchAll(/`(ProtocolError: [^`]+)`/g)].map(([, text = ""]) => text);
  assert(messages.length > 10, `only ${messages.length} messages were found`);
  assertEquals(messages.filter((text) => !printed.includes(text.split("…")[0] ?? "")), []);
});

async function runInterop(part: string): Promise<string> {
  const tool = fromFileUrl(new URL("tools/interop.ts", ROOT));
  const disk = ["--allow-read=.,/tmp", "--allow-write=/tmp"];
  const flags = ["--quiet", "--no-prompt", "--allow-net=127.0.0.1", ...disk, "--allow-run"];
  const env = { TMPDIR: "/tmp" };
  return await mustRun([Deno.execPath(), "run", ...flags, tool, part], { cwd: ROOT, env });
}
