/** What docs/agent.md says of services and of messages: the unit and the plist run as they are, and each message is in the code. */
import { assert, assertEquals } from "@std/assert";
import { spawnAgent } from "@degu/testing/agents.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { libraryFiles, read } from "@degu/testing/tree.ts";

const PAGE = await read("docs/agent.md");

/** The first code block in a language. */
function block(language: string): string {
  const found = new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, "m").exec(PAGE)?.[1];
  assert(found !== undefined, `docs/agent.md has no ${language}`);
  return found;
}

/** The command line of the unit, as systemd splits it. */
function unitCommand(): string[] {
  const line = /^ExecStart=((?:.*\\\n)*.*)$/m.exec(block("ini"))?.[1] ?? "";
  return line.replaceAll("\\\n", " ").split(/ +/);
}

async function output(program: string, args: string[], env: Record<string, string> = {}) {
  const options = { args, env, stdin: "null" } as const;
  const { success, stdout, stderr } = await new Deno.Command(program, options).output();
  const decoder = new TextDecoder();
  return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Whether a program can be run here. */
async function isThere(program: string): Promise<boolean> {
  try {
    return (await output(program, ["--version"])).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) {
      return false;
    }
    throw error;
  }
}

/** Runs the command of a service, of a user with this home, until it serves. */
async function serves(command: readonly string[], home: string): Promise<void> {
  const at = command.findIndex((arg) => arg.startsWith("jsr:"));
  // Not loaded from JSR, and at a port that is free.
  const flags = command.slice(2, at).filter((flag) =>
    !["--no-prompt", "--cached-only"].includes(flag)
  )
    .map((flag) => flag.replace("[::]:7443", "127.0.0.1:0"));
  const args = [...command.slice(at + 1), "--listen", "127.0.0.1:0"];
  await Deno.mkdir(`${home}/Share`, { recursive: true });
  await Deno.mkdir(`${home}/Inbox`, { recursive: true });
  const device = [...command.slice(at + 1, at + 3), "init", "--name", "x"];
  await using init = spawnAgent(device, { flags });
  assertEquals((await init.ended()).code, 0);
  await using service = spawnAgent(args, { flags });
  await service.line("serving on 127.0.0.1:");
  service.kill("SIGTERM");
  const { code, stderr } = await service.ended();
  assertEquals(code, 0, stderr);
}

Deno.test("the command of the systemd unit serves with exactly its flags", async () => {
  await using dir = await tempDir();
  await serves(unitCommand().map((arg) => arg.replaceAll("%h", dir.path)), dir.path);
});

const hasSystemd = await isThere("systemd-analyze");
Deno.test({
  name: hasSystemd
    ? "systemd finds nothing wrong with the units"
    : "the systemd units: left out, there is no systemd-analyze",
  ignore: !hasSystemd,
  fn: async () => {
    await using dir = await tempDir();
    const units = [
      ...PAGE.matchAll(/`~\/\.config\/systemd\/user\/([^`]+)`:\n\n```ini\n([^]*?)^```$/gm),
    ];
    assertEquals(units.map(([, name]) => name), [
      "degu.service",
      "degu-backup.service",
      "degu-backup.timer",
    ]);
    const paths = units.map(([, name]) => `${dir.path}/${name}`);
    for (const [index, [, , unit]] of units.entries()) {
      await Deno.writeTextFile(paths[index]!, unit!.replace("/usr/bin/deno", Deno.execPath()));
    }
    // What is wrong is a warning: systemd would ignore it.
    const verify = ["verify", "--user", ...paths];
    const { stdout, stderr } = await output("systemd-analyze", verify, {
      XDG_RUNTIME_DIR: dir.path,
    });
    const about = `${stdout}${stderr}`.split("\n").filter((line) =>
      /\bdegu[a-z-]*\.(service|timer)/.test(line)
    );
    assertEquals(about, []);
  },
});

const hasPython = await isThere("python3");
Deno.test({
  name: hasPython
    ? "the command of the launchd plist serves, and is that of the systemd unit"
    : "the launchd plist: left out, there is no python3",
  ignore: !hasPython,
  fn: async () => {
    await using dir = await tempDir();
    const path = `${dir.path}/degu.plist`;
    await Deno.writeTextFile(path, block("xml"));
    const script =
      "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    const { stdout, stderr, success } = await output("python3", ["-c", script, path]);
    assert(success, stderr);
    const { ProgramArguments: command, ...others } = JSON.parse(stdout);
    const inHome = (args: string[], home: string) =>
      args.slice(1).map((arg) => arg.replaceAll(home, dir.path));
    assertEquals(inHome(command, "/Users/anna"), inHome(unitCommand(), "%h"));
    assertEquals(others, {
      Label: "degu",
      RunAtLoad: true,
      KeepAlive: { SuccessfulExit: false },
      ExitTimeOut: 300,
      Umask: 0o77,
      StandardErrorPath: "/Users/anna/Library/Logs/degu.log",
    });
  },
});

Deno.test("each message in Troubleshooting is in the code", async () => {
  const [, section = ""] = PAGE.split("\n## Troubleshooting\n");
  const messages = [...section.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, message]) => message!);
  assert(messages.length > 20, `${messages.length} messages`);
  const sources = await Promise.all((await libraryFiles()).map((path) => read(path)));
  // A long text is written in several parts.
  const code = sources.join("\n").replace(/["'`]\s*\+\s*["'`]/g, "");
  const missing = messages.flatMap((message) =>
    message.split("…").map((part) => part.trim()).filter((part) =>
      part !== "" && !code.includes(part)
    )
  );
  assertEquals(missing, []);
});
