/**
 * Runs `degu service` with a separate systemd: installs `serve` and `sync`, each with exactly the
 * permissions of its row, uses both, lists them, and removes them. Prints the results of the commands, and the
 * installed units, as JSON.
 */

import { waitUntil } from "../../agent/tests/agent_lab.ts";
import { AgentHomes, type AgentResult, runAgent } from "@degu/testing/agents.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { formatFlags } from "@degu/testing/permissions.ts";

const [dir = "", json = ""] = Deno.args;
const rows: Record<string, string[]> = JSON.parse(json);
await using homes = await AgentHomes.create("desk", "laptop");
const [inbox, documents] = [homes.joinPath("in box"), homes.joinPath("Documents")];
await fill(homes.path, { "in box": null, "Documents/100%/a": "1" });
await homes.pair("desk", "laptop", "127.0.0.1:7443");
const units = `${dir}/.config/systemd/user`;
const values: Record<string, string> = {
  ...{ ADDRESS: "127.0.0.1:7443", INBOX: inbox, DIR: documents, UNITS: units },
};
const results: Record<string, AgentResult> = {};

/** Runs a command with the permissions of its row. */
async function run(row: string, home: string, ...args: string[]): Promise<void> {
  const permissions = rows[row]!.map((each) =>
    each.replace(/(?<==)[A-Z]+$/, (name) => name === "HOME" ? homes.joinPath(home) : values[name]!)
  );
  const flags = formatFlags(permissions);
  results[row] = await runAgent(["--home", homes.joinPath(home), "service", ...args], { flags });
}

await fill(units, { "degu.service": "[Service]\nExecStart=true\n" });
const install = ["--home", homes.joinPath("desk"), "service", "install", "--inbox", inbox];
const customResult = await runAgent(install, { flags: ["-A"] });
await Deno.remove(`${units}/degu.service`);
const listen = ["--listen", "127.0.0.1:7443"];
const serves = async () => (await homes.run("laptop", ["ping", "desk"])).code === 0;
await run(
  "service install --listen ADDRESS --inbox INBOX",
  "desk",
  "install",
  "--inbox",
  inbox,
  ...listen,
);
await waitUntil("the service answers", serves);
const sync = ["sync", "--delete", documents, "desk:copy"];
await run("service install sync DIR PEER:DIR", "laptop", "install", ...sync);
const isCopied = async () => "laptop/copy/100%/a" in await readTree(inbox);
await waitUntil("the service has copied", isCopied);
const names = () => Array.from(Deno.readDirSync(units), ({ name }) => name).toSorted();
await Deno.writeTextFile(`${units}/degu-sync-own.service`, "[Service]\nExecStart=true\n");
const installed = names();
await run("service list", "laptop", "list");
await run("service remove", "laptop", "remove");
const remainingUnits = names().filter((name) => name.startsWith("degu"));
console.log(
  JSON.stringify({
    ends: results,
    own: customResult.stderr,
    installed,
    left: remainingUnits,
    serves: await serves(),
  }),
);
