/**
 * `deno task interop`: runs other programs as clients, servers and proxies of Degu, and prints
 * tables of the results. Fails if the tables of tools/interop/results.md differ. The arguments are
 * the parts to run: clients, refused, servers, proxies, names, paths, transfers, small, work.
 */

import { TempPKI } from "@degu/degu/misc";
import { tryClients } from "./interop/clients.ts";
import { DeguServers } from "./interop/programs.ts";
import { tryNames } from "./interop/names.ts";
import { tryRealClients } from "./interop/real_clients.ts";
import { trySmallServers } from "./interop/small_servers.ts";
import { tryPaths, tryProxies, tryRefused, tryServers } from "./interop/servers.ts";
import { tryTransfers } from "./interop/transfers.ts";
import { findDifferences, printTable } from "./interop/tables.ts";

const PARTS = {
  clients: tryClients,
  refused: tryRefused,
  servers: tryServers,
  proxies: tryProxies,
  names: tryNames,
  paths: tryPaths,
  transfers: tryTransfers,
  small: trySmallServers,
  work: tryRealClients,
};

const page = await Deno.readTextFile(new URL("interop/results.md", import.meta.url));
const differences: string[] = [];

const dir = await Deno.makeTempDir({ prefix: "degu-interop-" });
try {
  // Servers that drop root privileges must be able to enter the directory.
  await Deno.chmod(dir, 0o755);
  await Deno.mkdir(`${dir}/files`);
  await Deno.writeTextFile(`${dir}/files/digits`, "0123456789");
  await using pki = await TempPKI.create();
  await using deguServers = await DeguServers.start(pki, `${dir}/files`);
  for (const [name, tryPart] of Object.entries(PARTS)) {
    if (Deno.args.length > 0 && !Deno.args.includes(name)) continue;
    console.log(`\n## ${name}\n`);
    for (const table of await tryPart(deguServers, pki, dir)) {
      printTable(table);
      differences.push(...findDifferences(page, table));
    }
  }
} finally {
  await Deno.remove(dir, { recursive: true });
}
for (const difference of differences) console.error(`tools/interop/results.md: ${difference}`);
Deno.exitCode = differences.length > 0 ? 1 : 0;
