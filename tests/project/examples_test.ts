/** Each program in examples/ runs with the permissions in its first line, and needs them. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { obstacleTo } from "@degu/testing/commands.ts";
import { firstLineOf, flagsOf, NO_PROGRAM, ROOT } from "@degu/testing/example_programs.ts";
import { RunningProcess } from "@degu/testing/processes.ts";

const DIRECTORY = "examples/";
/** They need each other: examples_pair_test.ts runs them. */
const PAIR: readonly string[] = [`${DIRECTORY}camera.ts`, `${DIRECTORY}viewer.ts`];
/** MiB that a program sends in place of 256: so much that a download lasts until it is cut. */
const MEBIBYTES: Readonly<Record<string, string>> = {
  [`${DIRECTORY}tutorial.ts`]: "32",
  [`${DIRECTORY}devices.ts`]: "64",
};
/** The longest that a program may take, in seconds. */
const TIME_LIMIT = 240;

/** Runs a command in a network of its own that has 127.0.0.1 and nothing else. */
const WITHOUT_IPV6 = [
  "unshare",
  "-rn",
  "python3",
  "-c",
  `
import os, subprocess, sys
with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file: file.write("1")
subprocess.check_call(["ip", "link", "set", "lo", "up"])
os.execv(sys.argv[1], sys.argv[1:])
`,
];
const obstacle = await obstacleTo([...WITHOUT_IPV6, Deno.execPath(), "--version"]);

type Result = Awaited<ReturnType<RunningProcess["ended"]>>;

for (const path of await examplePaths()) {
  if (PAIR.includes(path)) continue;
  const firstLine = await firstLineOf(path);
  if (firstLine.startsWith(NO_PROGRAM)) {
    const reason = firstLine.slice(NO_PROGRAM.length);
    Deno.test({ name: `${path} is not a program: ${reason}`, ignore: true, fn() {} });
    continue;
  }

  Deno.test(`${path} runs as its first line says`, async () => {
    const { success, stdout, stderr } = await runWhole(path);
    assert(success, `${firstLine}\n${stdout}\n${stderr}`);
    assert(stdout !== "", `${path} prints nothing`);
    // deno-lint-ignore no-control-regex
    assertMatch(stdout, /^[^\x00-\x09\x0b-\x1f]*$/, "control characters, but no terminal");
  });

  Deno.test(`${path} needs every permission in its first line`, async () => {
    const flags = flagsOf(path, firstLine);
    for (const flag of flags.filter((flag) => flag.startsWith("--allow-"))) {
      const { success } = await runExample(path, flags.filter((other) => other !== flag));
      assert(!success, `${path} runs without ${flag}, too`);
    }
  });
}

Deno.test("the tutorial shows the same response twice, and two transfers", async () => {
  const [, response, , sameResponse, ...progress] = await runTutorial();
  const expected = 'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)';
  assertEquals([response, sameResponse], [expected, expected]);
  assertEquals(progress.map((line) => line.split(/ +/)[0]), [
    ...new Array(4).fill("upload"),
    ...new Array(4).fill("download"),
  ]);
  for (const line of [progress[3], progress[7]]) {
    assertMatch(line ?? "", / 32 of 32 MiB in \d+\.\d\d s: [1-9]\d* MiB\/s$/);
  }
});

Deno.test("the devices of the example pair, and the interrupted download is resumed", async () => {
  const { success, stdout, stderr } = await runWhole(`${DIRECTORY}devices.ts`);
  assert(success, stderr);
  assertMatch(stdout, /^The camera is paired with viewer \([a-z2-7]{52}\)\.$/m);
  assertMatch(stdout, /^download was cut in the middle\.$/m);
  assertMatch(stdout, /^download 64 of 64 MiB, resumed from [1-9]\d*$/m);
  assertStringIncludes(stdout, "Both ends agree on the SHA-256: true");
});

Deno.test({
  name: "the tutorial uses 127.0.0.1 if there is no IPv6, and says so (needs unshare, python3)",
  ignore: obstacle !== null,
  async fn() {
    const path = `${DIRECTORY}tutorial.ts`;
    const flags = flagsOf(path, await firstLineOf(path));
    await using running = startExample(path, flags, ...WITHOUT_IPV6);
    // The transfers follow, which are the same.
    const lines = (await running.printed(/^(?:.*\n){5}/)).split("\n");
    assertStringIncludes(lines[2] ?? "", "no IPv6");
    assertMatch(lines[3] ?? "", /proxy.* 127\.0\.0\.1:\d+:$/);
    assertEquals(lines[4], lines[1]);
  },
});

async function examplePaths(): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(new URL(DIRECTORY, ROOT)));
  return entries.map(({ name }) => DIRECTORY + name).filter((path) => path.endsWith(".ts")).sort();
}

/** Starts a program of examples/, perhaps by another command. */
function startExample(path: string, flags: readonly string[], ...wrapper: string[]) {
  const command = [...wrapper, Deno.execPath(), "run", "--no-prompt", ...flags, path];
  const [program, ...args] = [...command, ...path in MEBIBYTES ? [MEBIBYTES[path]!] : []];
  const pipes = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const options = { args, cwd: ROOT, env: { NO_COLOR: "1" }, ...pipes };
  return new RunningProcess(new Deno.Command(program!, options).spawn());
}

async function runExample(path: string, flags: readonly string[]): Promise<Result> {
  await using running = startExample(path, flags);
  return await running.ended(TIME_LIMIT);
}

/** How the programs ended that have run as they are: some tests look at the same run. */
const wholeRuns = new Map<string, Promise<Result>>();

/** Runs a program of examples/ with all permissions in its first line, once. */
function runWhole(path: string): Promise<Result> {
  return wholeRuns.getOrInsertComputed(
    path,
    async () => await runExample(path, flagsOf(path, await firstLineOf(path))),
  );
}

async function runTutorial(): Promise<string[]> {
  const { success, stdout, stderr } = await runWhole(`${DIRECTORY}tutorial.ts`);
  assert(success, stderr);
  return stdout.trimEnd().split("\n");
}
