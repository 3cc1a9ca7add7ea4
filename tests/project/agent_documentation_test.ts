/**
 * The pages about the program match its options and services; the commands on the pages are run
 * unchanged.
 */
import { assert, assertEquals } from "@std/assert";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { parseCommands, readFirstMinute } from "@degu/testing/agent_documentation.ts";
import { parseObjects } from "@degu/testing/agent_files.ts";
import { AgentHomes, runAgentInProcess, spawnAgent } from "@degu/testing/agents.ts";
import { runCommand, runOrThrow } from "@degu/testing/commands.ts";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { findProgramObstacle, findShellObstacle, ignoreIf } from "@degu/testing/terminals.ts";
import { readProjectFile, ROOT } from "@degu/testing/tree.ts";

const program = await makeProgram(() => () => Promise.resolve());
const permissions = await readProjectFile("agent/docs/permissions.md");
const names = ["guide", "reference", "service", "sync"];
const pages = await Promise.all(names.map((name) => readProjectFile(`agent/docs/${name}.md`)));
const page = [...pages, permissions.split("\n## ")[0]].join("\n");

/** The options of other programs in the text: of Deno, systemctl and docker. */
const OF_OTHERS = ["--no-prompt", "--user", "--now", "--global", "--network"];

/** The options of all commands that connect. */
const CONNECT_OPTIONS = ["--address", "--no-find", "--wait"];

/** Returns the section of a heading, including its subsections. */
function sectionOf(heading: string): string {
  const [, textAfter] = page.split(`\n${heading}\n`);
  assert(textAfter !== undefined, `no page has the heading ${heading}`);
  const level = heading.indexOf(" ");
  const sectionEnd = textAfter.search(new RegExp(`^#{1,${level}} `, "m"));
  return sectionEnd < 0 ? textAfter : textAfter.slice(0, sectionEnd);
}

function optionsIn(text: string): Set<string> {
  return new Set(
    Array.from(text.matchAll(/(?<![\w-])--[a-z]+(?:-[a-z]+)*/g), ([option]) => option),
  );
}

Deno.test("the first minute is the same in the help and in agent/docs/guide.md", async () => {
  const commands = await readFirstMinute();
  assert(commands.length > 5, "the help has no first minute");
  const blocks = [...page.matchAll(/^```text\n((?:one|two)\$ [^]*?)```$/gm)];
  assertEquals(blocks.flatMap(([, text = ""]) => parseCommands(text)), commands);
});

Deno.test("the first minute begins as in the README: pair, put", async () => {
  const [, session = ""] =
    /```text\n(laptop\$ [^]*?)```/.exec(await readProjectFile("agent/README.md")) ?? [];
  const typed = (commands: [machine: string, command: string][]) => {
    const machines = [...new Set(commands.map(([machine]) => machine))];
    return commands.filter(([, command]) => command.startsWith("degu "))
      .map(([machine, command]) => [machines.indexOf(machine), command.split(" ")[1]]);
  };
  const readme = typed(parseCommands(session));
  assertEquals(typed(await readFirstMinute()).slice(0, readme.length), readme);
});

Deno.test("every command has a section with each of its options", () => {
  for (const command of program.commands.filter((each) => each.name() !== "help")) {
    const level = command.name() === "service" ? "##" : "###";
    const namedOptions = optionsIn(sectionOf(`${level} degu ${command.name()}`));
    for (const { long, hidden } of command.options) {
      if (hidden || CONNECT_OPTIONS.includes(long!)) continue;
      assert(namedOptions.has(long!), `no page says anything of ${command.name()} ${long}`);
    }
  }
});

Deno.test("the options of all commands, and of those that connect, are explained once", () => {
  const namedOptions = optionsIn(sectionOf("## Options of every command"));
  for (const { long } of program.options) assert(namedOptions.has(long!), long);
  for (const option of ["--help", ...CONNECT_OPTIONS]) {
    assert(namedOptions.has(option), option);
  }
});

Deno.test("no unknown option is explained", () => {
  const commands = program.commands.flatMap((each) => [each, ...each.commands]);
  const commandOptions = commands.flatMap((each) => each.options.map(({ long }) => long!));
  const globalOptions = program.options.map(({ long }) => long!);
  const allOptions = new Set([...commandOptions, ...globalOptions, "--help", ...OF_OTHERS]);
  // Code blocks contain commands, units and property lists.
  const prose = page.replaceAll(/^( *)```.*?^\1```|`deno [^`]*`|--allow-\w+/gms, "");
  const strange = [...optionsIn(prose)].filter((option) => !allOptions.has(option));
  assertEquals(strange, []);
});

Deno.test("the program accepts every command of the pages' blocks", async () => {
  const blocks = [...page.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block).join("");
  const lines = [...blocks.matchAll(/^degu ([a-z][^>#\n]*)/gm)].map(([, line = ""]) => line.trim());
  assert(lines.length > 8, lines.join("\n"));
  const ran: string[] = [];
  for (const line of lines) {
    const program = await makeProgram(() => () => Promise.resolve(void ran.push(line)));
    const words = line.split(/ +/).map((word) => word.replaceAll("'", ""));
    await program.parseAsync(words, { from: "user" });
  }
  assertEquals(ran, lines);
});

const noBash = await findShellObstacle("bash");

/** Runs a command of a page in a shell, in a directory; returns its output. */
function runLine(line: string, cwd: string | URL): Promise<string> {
  return runOrThrow(["bash", "-c", line], { cwd, env: { NO_COLOR: "1" } });
}

Deno.test(
  "the documented commands install the program from a checkout, and uninstall it",
  ignoreIf(noBash),
  async () => {
    const [install] = page.match(/^deno install (?:[^`](?!deno ))*? agent\/main\.ts$/m) ?? [];
    const [uninstall] = page.match(/deno uninstall [^`]+/) ?? [];
    assert(install !== undefined && uninstall !== undefined, "no page has such commands");
    await using dir = await createTempDir();
    const root = ` --root ${dir.path} `;
    const line = install.replace(" --global ", ` --global${root}`);
    const options = { cwd: ROOT, env: { NO_COLOR: "1" } };
    const installed = await runCommand(["bash", "-c", line], options);
    assert(installed.success && !/warning/i.test(installed.stderr), installed.stderr);
    const { version } = JSON.parse(await readProjectFile("deno.json"));
    assertEquals(await runLine("bin/degu --version", dir.path), `${version}\n`);
    await runLine(uninstall.replace(" --global ", ` --global${root}`), ROOT);
    assertEquals(Array.from(Deno.readDirSync(`${dir.path}/bin`)), []);
  },
);

Deno.test(
  "paths of deno task agent are relative to the current directory",
  ignoreIf(noBash),
  async () => {
    await using dir = await createTempDir();
    const typed = `${dir.path}/a b`;
    await Deno.mkdir(typed);
    const config = new URL("deno.json", ROOT).pathname;
    // The suite may itself be run by a task.
    const task = `deno task --quiet --config ${config} agent`;
    await runLine(`unset INIT_CWD; ${task} --home home init --name x`, typed);
    assertEquals(Array.from(Deno.readDirSync(typed), ({ name }) => name), ["home"]);
  },
);

function block(language: string): string {
  const code = new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, "m").exec(page)?.[1];
  assert(code !== undefined, `no page has a block of ${language}`);
  return code;
}

/** Returns the command line of the unit, split like systemd does. */
function unitCommand(): string[] {
  const line = /^ExecStart=((?:.*\\\n)*.*)$/m.exec(block("ini"))?.[1] ?? "";
  return line.replaceAll("\\\n", " ").split(/ +/);
}

Deno.test("the command of the systemd unit serves with exactly its flags", async () => {
  await using dir = await createTempDir();
  const command = unitCommand().map((arg) => arg.replaceAll("/home/anna", dir.path));
  const packageIndex = command.findIndex((arg) => arg.startsWith("jsr:"));
  // Load the program from this checkout instead of JSR, and use a free port.
  const flags = command.slice(2, packageIndex)
    .map((flag) => flag.replace("[::]:7443", "127.0.0.1:0"))
    .filter((flag) =>
      !["--no-prompt", "--cached-only", "--minimum-dependency-age=0"].includes(flag)
    );
  const args = command.slice(packageIndex + 1);
  await fill(dir.path, { "Share": null, "Inbox": null });
  const result = await runAgentInProcess([...args.slice(0, 2), "init", "--name", "x"]);
  assertEquals(result.code, 0, result.stderr);
  await using service = spawnAgent([...args, "--listen", "127.0.0.1:0"], { flags });
  await service.waitForLine("serving on 127.0.0.1:");
  service.kill("SIGTERM");
  const { code, stderr } = await service.waitForEnd();
  assertEquals(code, 0, stderr);
});

/** Returns the units that a command would install, by name. */
async function unitsOf(home: string, ...args: string[]): Promise<[name: string, text: string][]> {
  const installArgs = ["--home", home, "--json", "service", "install", ...args, "--print"];
  const printed = await runAgentInProcess(installArgs);
  const objects = parseObjects(printed);
  assertEquals([printed.code, objects.length > 0], [0, true], printed.stderr);
  return objects.map(({ path, text }) => [`${path}`.split("/").at(-1)!, `${text}`]);
}

Deno.test("the unit of agent/docs/service.md equals the one that degu service installs", async () => {
  await using dir = await createTempDir();
  const home = `${dir.path}/.local/state/degu`;
  await fill(dir.path, { ".local/state": null, "Share": null, "Inbox": null });
  await runAgentInProcess(["--home", home, "init", "--name", "x"]);
  const dirs = ["--share", `${dir.path}/Share`, "--inbox", `${dir.path}/Inbox`];
  const [[name, text] = []] = await unitsOf(home, ...dirs);
  const { version } = JSON.parse(await readProjectFile("deno.json"));
  const mainModule = decodeURIComponent(new URL("agent/main.ts", ROOT).pathname);
  const published = text!.replaceAll(dir.path, "/home/anna")
    .replace(Deno.execPath(), "/usr/bin/deno")
    .replace(mainModule, `jsr:@degu/agent@${version}`);
  assertEquals([name, published], ["degu.service", block("ini")]);
});

Deno.test(
  "systemd accepts the units, whatever the names of directories",
  ignoreIf(await findProgramObstacle("systemd-analyze", "--version")),
  async () => {
    await using homes = await AgentHomes.create("desk", "laptop");
    await homes.pair("desk", "laptop");
    const dir = homes.joinPath(`a b%s "$HOME" 'c;\\`);
    await Deno.mkdir(dir);
    const syncArgs = ["sync", "--exclude", "*.t p%", dir, "desk:a b/100%"];
    const units = [
      ...await unitsOf(homes.joinPath("desk"), "--share", dir),
      ...await unitsOf(homes.joinPath("laptop"), ...syncArgs),
    ];
    const names = ["degu.service", "degu-sync-to-desk-a_b-100_.service"];
    assertEquals(units.map(([name]) => name), [...names, names[1]!.replace("service", "timer")]);
    const paths = units.map(([name]) => homes.joinPath(name));
    for (const [i, [, text]] of units.entries()) await Deno.writeTextFile(paths[i]!, text);
    // systemd-analyze reports a mistake only as a warning.
    const verify = ["systemd-analyze", "verify", "--user", ...paths];
    const { stdout, stderr } = await runCommand(verify, { env: { XDG_RUNTIME_DIR: homes.path } });
    const warnings = `${stdout}${stderr}`.split("\n").filter((line) =>
      /\bdegu[a-z-]*\.(service|timer)/.test(line)
    );
    assertEquals(warnings, []);
  },
);

Deno.test(
  "the command of the launchd plist serves, and equals that of the systemd unit",
  ignoreIf(await findProgramObstacle("python3", "--version")),
  async () => {
    await using dir = await createTempDir();
    const path = `${dir.path}/degu.plist`;
    await Deno.writeTextFile(path, block("xml"));
    const script =
      "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    const printed = await runOrThrow(["python3", "-c", script, path]);
    const { ProgramArguments: command, ...otherKeys } = JSON.parse(printed);
    const inHome = (args: string[], home: string) =>
      args.slice(1).map((arg) => arg.replaceAll(home, dir.path));
    assertEquals(inHome(command, "/Users/anna"), inHome(unitCommand(), "/home/anna"));
    assertEquals(otherKeys, {
      Label: "degu",
      RunAtLoad: true,
      KeepAlive: { SuccessfulExit: false },
      ExitTimeOut: 300,
      StandardErrorPath: "/Users/anna/Library/Logs/degu.log",
    });
  },
);
