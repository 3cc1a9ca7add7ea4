/** A project of its own beside a checkout, made and used as README.md says. */
import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { tempDir } from "@degu/testing/directories.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
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
  const spawn = (program: string, args: string[]) => {
    const pipes = { stdout: "piped", stderr: "piped" } as const;
    const options = { args, cwd: project.path, env: { NO_COLOR: "1" }, ...pipes };
    return new RunningProcess(new Deno.Command(program, options).spawn());
  };
  await using server = spawn(Deno.execPath(), [...args, "hello.ts"]);
  const patient = ["--retry", "100", "--retry-delay", "1", "--retry-connrefused", "--silent"];
  const asked = [...patient, url.replaceAll("8080", port)];
  // The same, its headers alone, and with a body that nobody reads, which ends the session.
  const all = [...asked, "--next", ...asked, "-I", "--next", ...asked, "--data", "unread"];
  await using curl = spawn("curl", all);
  const [ended, answer] = [server, curl].map((each) => each.ended(PATIENCE));
  (await Promise.race([ended!.then(() => curl), answer!.then(() => server)])).child.kill("SIGTERM");
  assertEquals((await ended!).stderr, "");
  const words = "hello, world\n";
  const headers =
    "HTTP/1.1 200 OK\r\ncontent-length: 13\r\ncontent-type: text/plain;charset=utf-8\r\n\r\n";
  assertEquals((await answer!).stdout, words + headers + words);
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
