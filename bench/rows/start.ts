/** Row 18: the run time of programs that do little: that only import, or run a short command. */

import type { Contender, Group } from "../measure.ts";
import { findSkip, type Row, type RowSetting } from "../pair.ts";
import { hostname, measureSeconds } from "../peer.ts";
import { runToEnd } from "../process.ts";
import { agentArguments, serveDegu, serveSsh, sshCommand } from "./trees.ts";

/** An installed program doesn't read the configuration files of its checkout. */
const IMPORT_MAP = new URL("../../tests/support/offline/import_map.json", import.meta.url).pathname;

export const startRow: Row = {
  number: 18,
  title: "Start: programs that only import, and short commands",
  async *groups(setting) {
    yield await makeImports(setting);
    const skippedGroup = await findSkip(
      "18-command",
      "Commands",
      "ssh -V",
      "test -x /usr/sbin/sshd",
    );
    yield skippedGroup ?? await makeCommands(setting);
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

async function makeCommands({ directory }: RowSetting): Promise<Group> {
  const root = await Deno.makeTempDir({ dir: directory, prefix: "start" });
  const files = `${root}/files`;
  await Deno.mkdir(`${files}/inbox`, { recursive: true });
  const [deguPort, sshPort] = [await serveDegu(root, files), await serveSsh(root)];
  await runToEnd([
    ...["deno", "install", "--quiet", "--global", "--root", root, "--name", "degu"],
    ...["--import-map", IMPORT_MAP, ...agentArguments],
  ]);
  const degu = [`${root}/bin/degu`, "--home", `${root}/b`];
  return {
    id: "18-command",
    title: "A short command",
    unit: "ms",
    placement: "both ends on all cores",
    references: ["ssh"],
    contenders: [
      makeContender("ssh", [...sshCommand(root, sshPort), hostname, "true"]),
      makeContender("degu ls", [...degu, "ls", "--address", `${hostname}:${deguPort}`, "a:"]),
      makeContender("degu --version", [...degu, "--version"]),
    ],
    notes: [
      "“ssh” is `ssh HOST true`; “degu” is installed by `deno install`, and sends a request to a running `degu serve`.",
    ],
  };
}

/** Makes a contender that runs a command ten times for each figure. */
function makeContender(name: string, command: readonly string[]): Contender {
  const count = 10;
  return {
    name,
    async start() {
      await runToEnd(command);
      return async () => {
        const seconds = await measureSeconds(async () => {
          for (let i = 0; i < count; i++) await runToEnd(command);
        });
        return seconds / count * 1000;
      };
    },
  };
}
