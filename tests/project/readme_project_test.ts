/** A project of its own beside a checkout, made and used as README.md says. */
import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { tempDir } from "@degu/testing/directories.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { unlessMissing } from "@degu/testing/tls_openssl.ts";
import { read, ROOT } from "@degu/testing/tree.ts";

/** Seconds that a command may take: on a busy machine every module is compiled and type-checked first. */
const PATIENCE = 120;

const needsCurl = await unlessMissing("curl");

Deno.test("the server of README.md answers until it is stopped", needsCurl, async () => {
  const readme = await read("README.md");
  const [hello = "", flags = "", url = ""] = [
    /^`hello\.ts`:\n+```ts\n(.*?)^```$/ms,
    /^deno run (.*) hello\.ts$/m,
    /^curl (http\S+)$/m,
  ].map((part) => part.exec(readme)?.[1]);
  for (const part of [hello, flags, url]) assertMatch(part, /\b8080\b/);

  await using project = await makeProject();
  const port = `${await unusedPort()}`;
  await Deno.writeTextFile(join(project.path, "hello.ts"), hello.replaceAll("8080", port));
  const args = ["run", "--quiet", "--no-prompt", ...flags.replaceAll("8080", port).split(" ")];
  await using child = new Deno.Command(Deno.execPath(), {
    args: [...args, "hello.ts"],
    cwd: project.path,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const patient = ["--retry", "100", "--retry-delay", "1", "--retry-connrefused", "--silent"];
  const asked = url.replaceAll("8080", port);
  await using curl = new Deno.Command("curl", {
    args: [...patient, asked],
    stdout: "piped",
  }).spawn();
  const ended = child.output();
  const answer = curl.output();
  const first = Promise.race([ended.then(() => curl), answer.then(() => child)]);
  (await within(first, "curl ends", PATIENCE)).kill("SIGTERM");
  assertEquals(textOf((await ended).stderr), "");
  assertEquals(textOf((await answer).stdout), "hello, world\n");
});

/** An empty project with the configuration that README.md shows. */
async function makeProject(): Promise<AsyncDisposable & { path: string }> {
  const configuration = /^```json\n(.*?)^```$/ms.exec(await read("README.md"))?.[1] ?? "";
  assertMatch(configuration, /"\.\.\/degu"/);
  const dir = await tempDir();
  const text = configuration.replaceAll("../degu", fromFileUrl(ROOT).replace(/\/$/, ""));
  await Deno.writeTextFile(join(dir.path, "deno.json"), text);
  return dir;
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
