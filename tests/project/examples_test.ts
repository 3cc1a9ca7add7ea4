/** Each program in examples/ runs with the permissions in its first line, and needs them. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { obstacleTo } from "@degu/testing/commands.ts";
import { tempDir } from "@degu/testing/directories.ts";
import {
  flagsOf as flagsFor,
  grants,
  permissionsOf,
  readAudit,
} from "@degu/testing/permissions.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { read, ROOT } from "@degu/testing/tree.ts";
import { fromFileUrl } from "@std/path";

const DIRECTORY = "examples/";
/** How the first line of a program begins: what it is to be run with, and its path, follow. */
const PROGRAM = "// deno run ";
/** How the first line of a module begins that others import; why it is there follows. */
const NO_PROGRAM = "// Not a program: ";
const VIEWER = `${DIRECTORY}viewer.ts`;
const CAMERA = `${DIRECTORY}camera.ts`;
/** MiB that a program sends in place of 256: so much that a download lasts until it is cut. */
const MEBIBYTES: Readonly<Record<string, readonly string[]>> = {
  [`${DIRECTORY}tutorial.ts`]: ["32"],
  [`${DIRECTORY}devices.ts`]: ["96"],
  [`${DIRECTORY}demo.ts`]: ["2"],
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

/** What some programs have to print. */
const printed: Readonly<Record<string, (stdout: string) => void>> = {
  // The same response twice, and two transfers.
  [`${DIRECTORY}tutorial.ts`](stdout) {
    const [, response, , sameResponse, ...progress] = stdout.trimEnd().split("\n");
    const expected = 'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)';
    assertEquals([response, sameResponse], [expected, expected]);
    assertEquals(progress.map((line) => line.split(/ +/)[0]), [
      ...new Array(4).fill("upload"),
      ...new Array(4).fill("download"),
    ]);
    for (const line of [progress[3], progress[7]]) {
      assertMatch(line ?? "", / 32 of 32 MiB in \d+\.\d\d s: [1-9]\d* MiB\/s$/);
    }
  },
  // The devices are paired, and the download that was interrupted is resumed.
  [`${DIRECTORY}devices.ts`](stdout) {
    assertMatch(stdout, /^The camera is paired with viewer \([a-z2-7]{52}\)\.$/m);
    assertMatch(stdout, /^download was cut in the middle\.$/m);
    assertMatch(stdout, /^download 96 of 96 MiB, resumed from [1-9]\d*$/m);
    assertStringIncludes(stdout, "Both ends agree on the SHA-256: true");
  },
  // Both programs send as much as the argument says.
  [`${DIRECTORY}demo.ts`](stdout) {
    assertMatch(
      stdout,
      /^upload +2 of 2 MiB in .*\n[^]*^upload +2 of 2 MiB\n[^]*SHA-256: true\n$/m,
    );
  },
};

for (const path of await examplePaths()) {
  if (path === VIEWER || path === CAMERA) continue; // they need each other
  const firstLine = await firstLineOf(path);
  if (firstLine.startsWith(NO_PROGRAM)) {
    // Left out for the reason that its first line gives.
    const reason = firstLine.slice(NO_PROGRAM.length);
    Deno.test({ name: `${path} is not a program: ${reason}`, ignore: true, fn() {} });
    continue;
  }

  Deno.test(`${path} runs as its first line says, and needs every permission in it`, async () => {
    await using dir = await tempDir();
    const [flags, audit] = [flagsOf(path, firstLine), `${dir.path}/audit`];
    const { success, stdout, stderr } = await run(path, flags, { audit });
    assert(success, `${firstLine}\n${stdout}\n${stderr}`);
    assert(stdout !== "", `${path} prints nothing`);
    // deno-lint-ignore no-control-regex
    assertMatch(stdout, /^[^\x00-\x09\x0b-\x1f]*$/, "control characters, but no terminal");
    printed[path]?.(stdout);
    await assertNeeded(path, flags, audit, ROOT, (less) => run(path, less));
  });
}

Deno.test("the example of renewals runs until SIGTERM, and cleans up", async () => {
  const path = `${DIRECTORY}renewal.ts`;
  await using running = await start(path, flagsOf(path, await firstLineOf(path)), {
    args: ["stay"],
  });
  await running.printed(/^Here I am\.\nThe camera's certificate is valid until .*\.\n$/);
  running.child.kill("SIGTERM");
  const { success, stdout, stderr } = await running.ended();
  assertEquals([success, stderr], [true, ""]);
  assertMatch(stdout, /valid until .*\.\n$/);
});

Deno.test({
  name: "the tutorial uses 127.0.0.1 if there is no IPv6, and says so (needs unshare, python3)",
  ignore: obstacle !== null,
  async fn() {
    const path = `${DIRECTORY}tutorial.ts`;
    const flags = flagsOf(path, await firstLineOf(path));
    await using running = await start(path, flags, {
      through: WITHOUT_IPV6,
    });
    // The transfers follow, which are the same.
    const lines = (await running.printed(/^(?:.*\n){5}/)).split("\n");
    assertStringIncludes(lines[2] ?? "", "no IPv6");
    assertMatch(lines[3] ?? "", /proxy.* 127\.0\.0\.1:\d+:$/);
    assertEquals(lines[4], lines[1]);
  },
});

// The two that work together: they pair by a line, and one sends a file.

Deno.test("the viewer and the camera of the examples pair, files arrive, and both need their permissions", async () => {
  await using dir = await tempDir();
  const [here, there] = [`${dir.path}/viewer`, `${dir.path}/camera`];
  for (const each of [here, there]) await Deno.mkdir(each);
  await Deno.writeTextFile(`${there}/night 1.txt`, "a fox");
  const flags = flagsOf(VIEWER, await firstLineOf(VIEWER));
  const cameraFlags = flagsOf(CAMERA, await firstLineOf(CAMERA));
  const viewerAudit = `${dir.path}/viewer-audit`;
  const options = { cwd: here, args: ["127.0.0.1:0"], audit: viewerAudit };
  await using viewer = await start(VIEWER, flags, options);
  const line = await viewer.printed(/^degu:\S+$/m);

  const audit = `${dir.path}/camera-audit`;
  const send = (input: string, granted = cameraFlags) =>
    run(CAMERA, granted, { cwd: there, args: ["night 1.txt"], input, audit });
  const first = await send(`${line}\n`);
  assert(first.success, first.stderr);
  assertMatch(first.stdout, /^Paired with viewer \([a-z2-7]{52}\)\.$/m);
  assertMatch(first.stdout, /^viewer has night 1\.txt: 5 bytes, SHA-256 [0-9a-f]{64}$/m);
  await viewer.printed(/^Paired with camera \([a-z2-7]{52}\)\.$/m);
  await viewer.printed(/"PUT \/night~201\.txt HTTP\/1\.1" 201 -$/m);
  assertEquals(await Deno.readTextFile(`${here}/inbox/night 1.txt`), "a fox");

  await Deno.writeTextFile(`${there}/night 1.txt`, "two foxes");
  await assertNeeded(CAMERA, cameraFlags, audit, there, (less) => send("", less));
  const second = await send("");
  assert(second.success, second.stderr);
  assertMatch(second.stdout, /^viewer has night 1\.txt: 9 bytes/);
  assertEquals(await Deno.readTextFile(`${here}/inbox/night 1.txt`), "two foxes");
  viewer.child.kill("SIGTERM");
  assertEquals((await viewer.ended()).success, true);
  // Of a wildcard the addresses of the machine are in the line.
  await assertNeeded(VIEWER, flags, viewerAudit, here, async (less) => {
    await using dir = await tempDir();
    return await run(VIEWER, less, { cwd: dir.path, args: ["0.0.0.0:0"] });
  });
});

Deno.test("no key that an example makes beside the sources can be committed: .gitignore has its directory", async () => {
  const ignored = (await read(".gitignore")).split("\n");
  const made: string[] = [];
  for (const path of await examplePaths()) {
    const names = [...(await read(path)).matchAll(/\$\{Deno\.cwd\(\)\}\/([\w-]+)/g)];
    made.push(...names.map(([, name]) => `${name}/`));
  }
  assertEquals(made.toSorted(), ["camera-device/", "inbox/", "viewer-device/"]);
  assertEquals(made.filter((each) => !ignored.includes(each)), []);
});

Deno.test("the demo refuses a size that isn't a whole number from 1 to 9999", async () => {
  const path = `${DIRECTORY}demo.ts`;
  const flags = flagsOf(path, await firstLineOf(path));
  for (const size of ["0", "abc", "1.5", "-1", "10000", ""]) {
    const { success, stdout, stderr } = await run(path, flags, { args: [size] });
    const sentence =
      `The argument is the size in MiB, a whole number from 1 to 9999, not "${size}".\n`;
    assertEquals([success, stdout, stderr], [false, "", sentence]);
  }
});

Deno.test("the camera example prints its usage", async () => {
  await using dir = await tempDir();
  const { success, stderr } = await run(CAMERA, [], { cwd: dir.path });
  assertEquals([success, stderr], [false, "Usage: camera.ts FILE\n"]);
});

async function firstLineOf(path: string): Promise<string> {
  return (await read(path)).split("\n", 1)[0]!;
}

/** The flags that the first line of a program names. */
function flagsOf(path: string, firstLine: string): string[] {
  assert(
    firstLine.startsWith(PROGRAM) && firstLine.endsWith(` ${path}`),
    `${path}: its first line must be "${PROGRAM}<flags> ${path}" or "${NO_PROGRAM}<reason>"`,
  );
  assert(!/ (-A|--allow-all)\b/.test(firstLine), `${path} takes every permission`);
  return firstLine.slice(PROGRAM.length, -path.length).split(" ").filter((flag) => flag !== "");
}

/** Asserts that a program has asked for each permission of its flags, or else, for what Deno doesn't record, fails without it. */
async function assertNeeded(
  path: string,
  flags: readonly string[],
  audit: string,
  cwd: string | URL,
  run: (flags: string[]) => Promise<{ success: boolean }>,
): Promise<void> {
  const asked = (await readAudit(audit)).flat();
  const directory = cwd instanceof URL ? fromFileUrl(cwd) : cwd;
  const [allowed, others] = [
    flags.filter(isPermission),
    flags.filter((flag) => !isPermission(flag)),
  ];
  const permissions = allowed.flatMap(permissionsOf);
  for (const one of permissions) {
    if (asked.some((each) => grants(one, each, directory))) continue;
    const less = flagsFor(permissions.filter((other) => other !== one));
    const { success } = await run([...less, ...others]);
    assert(!success, `${path} runs without ${one}, too`);
  }
}

function isPermission(flag: string): boolean {
  return flag.startsWith("--allow-");
}

async function examplePaths(): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(new URL(DIRECTORY, ROOT)));
  return entries.map(({ name }) => DIRECTORY + name).filter((path) => path.endsWith(".ts")).sort();
}

interface Start {
  readonly cwd?: string;
  readonly args?: readonly string[];
  /** What it reads, and no more. */
  readonly input?: string;
  /** A command that runs the command that is its arguments. */
  readonly through?: readonly string[];
  /** The file in which Deno records the permissions that it asks for. */
  readonly audit?: string;
}

/** Starts a program of examples/. */
async function start(path: string, flags: readonly string[], options: Start = {}) {
  const { cwd = ROOT, args = MEBIBYTES[path] ?? [], input = "", through = [], audit } = options;
  const program = fromFileUrl(new URL(path, ROOT));
  const run = [...through, Deno.execPath(), "run", "--quiet", "--no-prompt", ...flags, program];
  const [command = "", ...rest] = [...run, ...args];
  const child = new Deno.Command(command, {
    args: rest,
    cwd,
    env: { NO_COLOR: "1", ...audit && { DENO_AUDIT_PERMISSIONS: audit } },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  // It may end without reading it.
  await new Blob([input]).stream().pipeTo(child.stdin).catch(() => {});
  return new RunningProcess(child);
}

/** Runs a program of examples/ to its end. */
async function run(path: string, flags: readonly string[], options?: Start) {
  await using running = await start(path, flags, options);
  return await running.ended(TIME_LIMIT);
}
