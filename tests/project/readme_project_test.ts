/**
 * The first programs of README.md and the tutorial, next to a checkout and in a separate project,
 * as on the pages.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { makeDenoCommand, runCommand, startCommand } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { ignoreUnlessInstalled } from "@degu/testing/tls_openssl.ts";
import { importMapFlags } from "@degu/testing/programs.ts";
import { readProjectFile, ROOT } from "@degu/testing/tree.ts";

/**
 * The maximal duration of a command in seconds: a busy machine compiles and type-checks each module
 * first.
 */
const PATIENCE = 120;

const needsCurl = await ignoreUnlessInstalled("curl");

const CONFIG = "--config degu/deno.json";
const CHECKOUT = fromFileUrl(ROOT).replace(/\/$/, "");

type MakeFiles = (readme: string) => Record<string, string>;

const projects: [name: string, files: MakeFiles, configFlag: string][] = [
  ["next to a checkout", () => ({}), `--config=${CHECKOUT}/deno.json`],
  ["in a project that names a checkout", (readme) => {
    const configuration = /^```json\n(.*?)^```$/ms.exec(readme)?.[1] ?? "";
    assertMatch(configuration, /"\.\.\/degu"/);
    return { "deno.json": configuration.replaceAll("../degu", CHECKOUT) };
  }, ""],
];

for (const [location, files, configFlag] of projects) {
  Deno.test(
    `the server of README.md, ${location}, answers until it is stopped`,
    needsCurl,
    async () => {
      const readme = await readProjectFile("README.md");
      const [hello = "", flags = "", url = ""] = [
        /^`hello\.ts`:\n+```ts\n(.*?)^```$/ms,
        /^deno run (.*) hello\.ts$/m,
        /^curl (http\S+)$/m,
      ].map((part) => part.exec(readme)?.[1]);
      for (const part of [hello, flags, url]) assertMatch(part, /\b8080\b/);
      assert(flags.startsWith(CONFIG));

      await using project = await createTempDir();
      const port = `${await findUnusedPort()}`;
      const projectFiles = { "hello.ts": hello.replaceAll("8080", port), ...files(readme) };
      for (const [name, text] of Object.entries(projectFiles)) {
        await Deno.writeTextFile(join(project.path, name), text);
      }
      const serverFlags = flags.replaceAll("8080", port).replace(CONFIG, configFlag).trim();
      const spawn = (program: string, args: string[]) => {
        const options = { cwd: project.path, env: { NO_COLOR: "1" }, stdin: "null" } as const;
        return new RunningProcess(startCommand([program, ...args], options));
      };
      const run = ["run", "--quiet", "--no-prompt", ...serverFlags.split(" "), "hello.ts"];
      await using server = spawn(Deno.execPath(), run);
      const patient = ["--retry", "100", "--retry-delay", "1", "--retry-connrefused", "--silent"];
      const curlArgs = [...patient, url.replaceAll("8080", port)];
      // The same request, a HEAD, and a request whose body the app doesn't read.
      const laterArgs = ["--next", ...curlArgs, "-I", "--next", ...curlArgs, "--data", "unread"];
      await using curl = spawn("curl", [...curlArgs, ...laterArgs]);
      const [serverEnd, curlEnd] = [server, curl].map((each) => each.waitForEnd(PATIENCE));
      const remainingProcess = await Promise.race([
        serverEnd!.then(() => curl),
        curlEnd!.then(() => server),
      ]);
      remainingProcess.child.kill("SIGTERM");
      const closeReason =
        /^127\.0\.0\.1:\d+: ended after the body of a request was left unread.*\n$/;
      assertMatch((await serverEnd!).stderr, closeReason);
      const words = "hello, world\n";
      const headers =
        "HTTP/1.1 200 OK\r\ncontent-length: 13\r\ncontent-type: text/plain;charset=utf-8\r\n\r\n";
      assertEquals((await curlEnd!).stdout, words + headers + words);
    },
  );
}

Deno.test("the first program of the tutorial runs next to a checkout", async () => {
  const page = await readProjectFile("docs/tutorial.md");
  const [program = "", flags = ""] = [/^```ts\n(.*?)^```$/ms, /^deno run (.*) hello\.ts$/m]
    .map((part) => part.exec(page)?.[1]);
  await using project = await createTempDir();
  await Deno.writeTextFile(join(project.path, "hello.ts"), program);
  assert(flags.includes(CONFIG) && flags.endsWith("--allow-read=."));
  // The checkout is in another place than on the page, where it is below the directory.
  const allFlags = `${flags.replace(CONFIG, `--config=${CHECKOUT}/deno.json`)},${CHECKOUT}`;
  const runFlags = ["--no-prompt", ...importMapFlags(), ...allFlags.split(" ")];
  const command = makeDenoCommand(runFlags, "hello.ts");
  const { success, stdout, stderr } = await runCommand(command, { cwd: project.path });
  assert(success, stderr);
  assertStringIncludes(stdout, 'Response(status=200, reason="OK"');
});
