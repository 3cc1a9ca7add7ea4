/**
 * Clients that reach a Degu server by a link-local IPv6 address with its zone. Prints a line for
 * each client: its name, its result. Runs in a network namespace of its own:
 * `unshare --map-root-user --net deno run … tools/interop/zone.ts DIRECTORY`.
 */

import { Server } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";
import { problemOf, run } from "./programs.ts";
import { ZONE_CLIENTS } from "./zone_clients.ts";

const INTERFACE = "degu0";
const [directory = "."] = Deno.args;

for (
  const command of [
    "ip link set lo up",
    `ip link add ${INTERFACE} type veth peer name degu1`,
    `ip link set ${INTERFACE} addrgenmode none`,
    `ip addr add fe80::1/64 dev ${INTERFACE} nodad`,
    `ip link set ${INTERFACE} up`,
    "ip link set degu1 up",
  ]
) {
  const result = await run(command.split(" "));
  if (!result?.success) {
    console.log(`obstacle\t${command}: ${problemOf(result)}`);
    Deno.exit(0);
  }
}

const log: string[] = [];
const addLogLine = (line: string) => void log.push(line.split("\n")[0] ?? "");
await using server = await Server.start(["::", 0], new FilesApp(directory), {
  logger: { debug() {}, info: addLogLine, warn: addLogLine, error: addLogLine },
});
const port = Number(server.address[1]);
for (const [name, makeCommand] of Object.entries(ZONE_CLIENTS)) {
  log.length = 0;
  const command = makeCommand(`fe80::1%${INTERFACE}`, port);
  const result = await run(["timeout", "--kill-after=2", "20", ...command]);
  const isRight = result?.success &&
    /abcdefghijklmnopqrstuvwxyz|refs\/heads\/main/.test(result.stdout);
  const problem = result === null
    ? problemOf(result)
    : log[0]?.replace(/^\S+: /, "") ?? problemOf(result);
  console.log(`${name}\t${isRight ? "yes" : problem}`);
}
