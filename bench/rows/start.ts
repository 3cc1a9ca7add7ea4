/** Row 18: the run time of programs that do little: that only import, or run a short command. */

import type { Contender, Group } from "../measure.ts";
import { findSkip, type Row, type RowSetting } from "../pair.ts";
import { hostname, measureSeconds } from "../peer.ts";
import { measureProcessorSeconds, runToEnd } from "../process.ts";
import { serveSsh, serveVersions, sshCommand, type Version, versionFields } from "./trees.ts";

export const startRow: Row = {
  number: 18,
  title: "Start: programs that only import, and short commands",
  async *groups(setting) {
    if (setting.trees !== undefined) return yield* makeComparisons(setting);
    yield await makeImports(setting);
    const skippedGroup = await findSkip(
      "18-command",
      "Commands",
      "bash --version",
      "ssh -V",
      "test -x /usr/sbin/sshd",
    );
    if (skippedGroup !== null) return yield skippedGroup;
    yield* makeCommands(setting);
  },
};

async function makeImports({ directory }: RowSetting): Promise<Group> {
  const modules: Record<string, string> = {
    "nothing": "",
    "node:http": 'import "node:http";',
    "@degu/degu": `import "${new URL("../../mod.ts", import.meta.url)}";`,
  };
  const contenders: Contender[] = [];
  for (const [name, text] of Object.entries(modules)) {
    const path = `${directory}/import_${contenders.length}.ts`;
    await Deno.writeTextFile(path, text);
    contenders.push(makeContender(name, ["deno", "run", "--quiet", "--no-check", path]));
  }
  return {
    id: "18-import",
    title: "A program with only this import",
    unit: "ms",
    placement: "all cores",
    references: ["nothing"],
    contenders,
  };
}

async function* makeCommands({ directory }: RowSetting): AsyncGenerator<Group, void, undefined> {
  const root = await Deno.makeTempDir({ dir: directory, prefix: "start" });
  const files = `${root}/files`;
  await Deno.mkdir(`${files}/inbox`, { recursive: true });
  const [version] = await serveVersions(root, files);
  const { port: sshPort } = await serveSsh(root);
  yield {
    id: "18-command",
    title: "A short command",
    unit: "ms",
    placement: "both ends on all cores",
    references: ["ssh"],
    contenders: [
      makeContender("ssh", [...sshCommand(root, sshPort), hostname, "true"]),
      makeContender("degu --version", [...version.command.slice(0, -2), "--version"]),
    ],
    notes: ["“ssh” is `ssh HOST true`."],
  };
  yield* makeRequestCommands(root, files, version, sshPort);
}

/** Makes the groups of commands that send a request, beside the programs of SSH. */
async function* makeRequestCommands(
  root: string,
  files: string,
  { command, port }: Version,
  sshPort: number,
): AsyncGenerator<Group, void, undefined> {
  const file = `${root}/file`;
  await Deno.writeTextFile(file, "hi\n");
  const address = ["--address", `${hostname}:${port}`];
  const sshOptions = sshCommand(root, sshPort).slice(3);
  const scp = ["scp", "-q", "-P", `${sshPort}`, ...sshOptions, file];
  const commands: Record<string, (target: string) => readonly string[]> = {
    "scp": (target) => [...scp, `${hostname}:${files}/inbox/${target}`],
    "degu put": (target) => [...command, "--quiet", "put", ...address, file, `a:${target}`],
    "ssh ls": () => [...sshCommand(root, sshPort), hostname, "ls", files],
    "degu ls": () => [...command, "--quiet", "ls", ...address, "a:"],
  };
  let targetCount = 0;
  const measures = {
    "processor time of the client": measureProcessorSeconds,
    "time": (command: readonly string[]) => measureSeconds(() => runToEnd(command)),
  };
  for (const [index, [title, measure]] of Object.entries(measures).entries()) {
    yield {
      id: `18-bundle${index === 0 ? "-processor" : ""}`,
      title: `A short command that sends a request: ${title}`,
      unit: "ms",
      placement: "both ends on all cores",
      references: ["scp", "ssh ls"],
      contenders: Object.entries(commands).map(([name, makeCommand]) => ({
        name,
        async start() {
          const run = () => measure(makeCommand(`copy${targetCount++}`));
          await run();
          return async () => {
            let seconds = 0;
            for (let i = 0; i < RUN_COUNT; i++) seconds += await run();
            return seconds / RUN_COUNT * 1000;
          };
        },
      })),
      notes: [
        "`scp` and `degu put` copy a file of three bytes to a new name. Only `degu put` syncs it to the disk.",
      ],
    };
  }
}

/** The number of times that a command runs for each figure. */
const RUN_COUNT = 10;

/** Makes a contender that runs a command some times for each figure. */
function makeContender(name: string, command: readonly string[]): Contender {
  return {
    name,
    async start() {
      await runToEnd(command);
      return async () => {
        const seconds = await measureSeconds(async () => {
          for (let i = 0; i < RUN_COUNT; i++) await runToEnd(command);
        });
        return seconds / RUN_COUNT * 1000;
      };
    },
  };
}

/** Makes the groups that compare versions: importing the library, and short commands. */
async function* makeComparisons(
  { directory, trees }: RowSetting,
): AsyncGenerator<Group, void, undefined> {
  const root = await Deno.makeTempDir({ dir: directory, prefix: "start" });
  const files = `${root}/files`;
  await Deno.mkdir(`${files}/inbox`, { recursive: true });
  const versions = await serveVersions(root, files, trees);
  const file = `${root}/file`;
  await Deno.writeTextFile(file, "hi\n");
  let targetCount = 0;
  const moduleByVersion = new Map<Version, string>();
  for (const [index, tree] of Object.values(trees!).entries()) {
    const path = `${root}/import${index}.ts`;
    await Deno.writeTextFile(path, `import "file://${tree}mod.ts";`);
    moduleByVersion.set(versions[index]!, path);
  }
  const commands: Record<string, (version: Version) => readonly string[]> = {
    "import @degu/degu": (version) => [
      ...["deno", "run", "--quiet", "--no-check", moduleByVersion.get(version)!],
    ],
    // Without the last two arguments, --home and its value.
    "degu --version": ({ command }) => [...command.slice(0, -2), "--version"],
    "degu --help": ({ command }) => [...command.slice(0, -2), "--help"],
    "degu put, a usage error": ({ command }) => [
      ...["sh", "-c", '"$@" 2> /dev/null; test $? -eq 2', "sh", ...command, "put"],
    ],
    "degu id": ({ command }) => [...command, "id"],
    "degu ls": ({ command, port }) => [
      ...[...command, "--quiet", "ls", "--address", `${hostname}:${port}`, "a:"],
    ],
    "degu put": ({ command, port }) => [
      ...[...command, "--quiet", "put", "--address", `${hostname}:${port}`],
      ...[file, `a:copy${targetCount++}`],
    ],
  };
  for (const [index, [title, makeCommand]] of Object.entries(commands).entries()) {
    yield {
      id: `18-command-${index}`,
      title,
      ...versionFields(versions),
      unit: "ms of processor time",
      contenders: versions.map((version): Contender => ({
        name: version.name,
        start: () =>
          Promise.resolve(async () => {
            let seconds = 0;
            for (let i = 0; i < RUN_COUNT; i++) {
              seconds += await version.measure(makeCommand(version));
            }
            return seconds / RUN_COUNT * 1000;
          }),
      })),
    };
  }
}
