/**
 * The programs of examples/ that end by themselves run with the permissions in their first lines,
 * and need them. The first programs of README.md and the tutorial run as on the pages.
 * tests/examples has the tests of servers, which run until a signal.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { findObstacle, makeDenoCommand, runCommand, startCommand } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertNeeded, runExample, startExample } from "../examples/examples.ts";
import { importMapFlags, RunningProcess } from "@degu/testing/processes.ts";
import { listFiles, readProjectFile, ROOT } from "@degu/testing/project_files.ts";
import { fromFileUrl, join } from "@std/path";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { ignoreUnlessInstalled } from "../net/tls/tls_openssl.ts";

const DIRECTORY = "examples/";
/** The prefix of the first line of a module that is not a program. */
const NO_PROGRAM = "// Not a program: ";
/** The prefix of the first line of a test. */
const TEST = "// deno test ";
/** The MiB that a program sends instead of 256. */
const MEBIBYTES: Readonly<Record<string, readonly string[]>> = {
  [`${DIRECTORY}tutorial.ts`]: ["32"],
  [`${DIRECTORY}devices.ts`]: ["16"],
  [`${DIRECTORY}demo.ts`]: ["2"],
};

/** Runs a command in a network namespace that has only 127.0.0.1. */
const WITHOUT_IPV6 = [
  ...["unshare", "-rn", "sh", "-ec"],
  'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up; exec "$0" "$@"',
];
const obstacle = await findObstacle([...WITHOUT_IPV6, Deno.execPath(), "--version"]);

/** The required output of some programs. */
const printed: Readonly<Record<string, (stdout: string) => void>> = {
  // The same response twice, and two transfers.
  [`${DIRECTORY}tutorial.ts`](stdout) {
    const [, response, , sameResponse, ...progress] = stdout.trimEnd().split("\n");
    const expected = 'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)';
    assertEquals([response, sameResponse], [expected, expected]);
    assertEquals(progress.map((line) => line.split(/ +/)[0]), [
      "upload",
      "download",
    ]);
    for (const line of progress) {
      assertMatch(line ?? "", / 32 of 32 MiB in \d+\.\d\d s: [1-9]\d* MiB\/s$/);
    }
  },
  // The devices are paired, and the download that was cut in the middle is resumed from there.
  [`${DIRECTORY}devices.ts`](stdout) {
    assertMatch(stdout, /^The camera is paired with viewer \([a-z2-7]{52}\)\.$/m);
    assertMatch(stdout, /^download was cut in the middle\.$/m);
    assertMatch(stdout, /^download 16 of 16 MiB, resumed from [5-8](?:\.\d)? in .* s: (?!0 )/m);
    assertStringIncludes(stdout, "Both ends agree on the SHA-256: true");
  },
  // Both programs send as much as the argument says.
  [`${DIRECTORY}demo.ts`](stdout) {
    assertMatch(
      stdout,
      /^upload +2 of 2 MiB in .*\n[^]*^upload +2 of 2 MiB in .*\n[^]*resumed from (?:1|0\.\d) in .* s: (?!0 )[^]*SHA-256: true\n$/m,
    );
  },
};

/** Programs that run until a signal, and their tests. */
const SERVING: Readonly<Record<string, string>> = {
  "agent.ts": "tests/project/examples_test.ts",
  "api.ts": "tests/examples/examples_test.ts",
  "backup.ts": "tests/examples/backup_test.ts",
  "camera.ts": "tests/long/examples/recorder_test.ts",
  "gateway.ts": "tests/examples/examples_test.ts",
  "live.ts": "tests/examples/examples_test.ts",
  "recorder.ts": "tests/long/examples/recorder_test.ts",
};

for (const path of await listFiles(DIRECTORY.slice(0, -1), ".ts")) {
  const [firstLine = ""] = (await readProjectFile(path)).split("\n", 1);
  if (path.slice(DIRECTORY.length) in SERVING) continue;
  if (firstLine.startsWith(NO_PROGRAM)) {
    // Ignored, with the reason in its first line.
    const reason = firstLine.slice(NO_PROGRAM.length);
    Deno.test({ name: `${path} is not a program: ${reason}`, ignore: true, fn() {} });
  } else if (firstLine.startsWith(TEST)) {
    Deno.test(`${path} succeeds as its first line says, without a permission`, async () => {
      assertEquals(firstLine, `${TEST}${path}`);
      const flags = ["--quiet", "--no-prompt", "--no-check", ...importMapFlags()];
      const env = { NO_COLOR: "1" };
      const command = [Deno.execPath(), "test", ...flags, path];
      const { success, stdout, stderr } = await runCommand(command, { cwd: ROOT, env });
      assert(success, `${stdout}\n${stderr}`);
      assertMatch(stdout, /^ok \| [1-9]\d* passed \| 0 failed/m);
    });
  } else {
    Deno.test(`${path} runs as its first line says, and needs every permission in it`, async () => {
      await using dir = await createTempDir();
      const [args, audit] = [MEBIBYTES[path] ?? [], `${dir.path}/audit`];
      const { success, stdout, stderr } = await runExample(path, { args, audit });
      assert(success, `${firstLine}\n${stdout}\n${stderr}`);
      assert(stdout !== "", `${path} prints nothing`);
      // deno-lint-ignore no-control-regex
      assertMatch(stdout, /^[^\x00-\x09\x0b-\x1f]*$/, "control characters, but no terminal");
      printed[path]?.(stdout);
      await assertNeeded(path, audit, ROOT, (flags) => runExample(path, { flags, args }));
    });
  }
}

Deno.test("each program that runs until a signal has a test", async () => {
  for (const [program, test] of Object.entries(SERVING)) {
    assertStringIncludes(await readProjectFile(test), `"${DIRECTORY}${program}"`);
  }
});

Deno.test({
  name: "the tutorial uses 127.0.0.1 without IPv6, and says so (needs unshare, ip)",
  ignore: obstacle !== null,
  async fn() {
    const path = `${DIRECTORY}tutorial.ts`;
    const options = { args: MEBIBYTES[path] ?? [], through: WITHOUT_IPV6 };
    await using running = await startExample(path, options);
    // The following transfers are the same as with IPv6.
    const lines = (await running.waitForStdout(/^(?:.*\n){5}/)).split("\n");
    assertStringIncludes(lines[2] ?? "", "no IPv6");
    assertMatch(lines[3] ?? "", /proxy.* 127\.0\.0\.1:\d+:$/);
    assertEquals(lines[4], lines[1]);
  },
});

Deno.test("the demo refuses a size that isn't a whole number from 1 to 9999", async () => {
  const { success, stdout, stderr } = await runExample(`${DIRECTORY}demo.ts`, { args: ["0"] });
  const sentence = 'The argument is the size in MiB, a whole number from 1 to 9999, not "0".\n';
  assertEquals([success, stdout, stderr], [false, "", sentence]);
});

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
      assertEquals((await serverEnd!).stderr, "");
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

Deno.test("examples/agent.ts is the program of device/docs/local_network.md, with the flags of its command and its unit", async () => {
  const page = await readProjectFile("device/docs/local_network.md");
  const lines = (await readProjectFile("examples/agent.ts")).split("\n");
  assert(lines.length <= 53, "52 lines, and the end of the last one");
  assertEquals(lines.slice(2).join("\n"), /^```ts\n(.*?)^```$/ms.exec(page)?.[1]);
  const flags = (text = "") =>
    text.split(/\s+/).filter((word) => word.startsWith("--allow-")).sort();
  const command = /^deno run .* agent\.ts lamp$/m.exec(page)?.[0];
  const unit = /^```ini\n(.*?)^```$/ms.exec(page)?.[1];
  assertEquals([flags(command), flags(unit)], [flags(lines[0]), flags(lines[0])]);
});
