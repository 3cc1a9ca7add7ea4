/** The configurations in docs/interop.md are those that `deno task interop` uses. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { type CommandResult, runCommand } from "@degu/testing/commands.ts";
import { readProjectFile, ROOT } from "@degu/testing/tree.ts";

/** The tested configurations, with the values that the page has instead of ports and paths. */
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
const CONFIGURATIONS: Record<string, readonly string[]> = {
  nginx: ["nginx.conf", "nginx_cache.conf"],
  apache: ["apache.conf"],
  haproxy: ["haproxy.cfg"],
  caddyfile: ["Caddyfile"],
  vcl: ["varnish.vcl"],
};

Deno.test("each configuration line on the page is in the tested configuration", async () => {
  const page = await readProjectFile("docs/interop.md");
  for (const [language, files] of Object.entries(CONFIGURATIONS)) {
    const texts = files.map((file) => readProjectFile(`tools/interop/${file}`));
    const text = (await Promise.all(texts)).join("\n")
      .replaceAll(/\{([A-Z_]+)\}/g, (placeholder, name: string) => VALUES[name] ?? placeholder);
    const run = new Set(text.split("\n").map((line) => line.trim()));
    const blocks = [...page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))];
    assert(blocks.length > 0, language);
    const lines = blocks.flatMap(([, block = ""]) => block.split("\n").map((line) => line.trim()));
    assertEquals(lines.filter((line) => !run.has(line)), [], language);
  }
});

Deno.test("the messages and requests that the page lists are refused, with these errors", async (t) => {
  const { code, stdout, stderr } = await runInterop("refused");
  if (stdout.includes("not installed")) {
    // Ignored, because a program is missing; the test prints the reason.
    await t.step({ name: "curl or Node is not installed", ignore: true, fn() {} });
  }
  assertEquals(code, 0, stderr);
});

async function runInterop(part: string): Promise<CommandResult> {
  const tool = fromFileUrl(new URL("tools/interop.ts", ROOT));
  const disk = ["--allow-read=.,/tmp", "--allow-write=/tmp"];
  const flags = ["--quiet", "--no-prompt", "--allow-net=127.0.0.1", ...disk, "--allow-run"];
  const env = { TMPDIR: "/tmp" };
  return await runCommand([Deno.execPath(), "run", ...flags, tool, part], { cwd: ROOT, env });
}
