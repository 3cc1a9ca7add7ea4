/**
 * `deno task interop`: runs other programs against Degu, as clients, as servers and as proxies, and
 * prints the tables of docs/interop.md. Arguments name the parts: clients, refused, servers,
 * proxies.
 */

import { TempPKI } from "@degu/degu/misc";
import { printClients } from "./interop/clients.ts";
import { Served } from "./interop/programs.ts";
import { printProxies, printRefused, printServers } from "./interop/servers.ts";

const PARTS = {
  clients: printClients,
  refused: printRefused,
  servers: printServers,
  proxies: printProxies,
};

const dir = await Deno.makeTempDir({ prefix: "degu-interop-" });
try {
  // Servers that give up root must be able to enter the directory.
  await Deno.chmod(dir, 0o755);
  await Deno.mkdir(`${dir}/files`);
  await Deno.writeTextFile(`${dir}/files/digits`, "0123456789");
  await using pki = await TempPKI.create();
  await using served = await Served.start(pki, `${dir}/files`);
  for (const [name, print] of Object.entries(PARTS)) {
    if (Deno.args.length > 0 && !Deno.args.includes(name)) continue;
    console.log(`\n## ${name}\n`);
    await print(served, pki, dir);
  }
} finally {
  await Deno.remove(dir, { recursive: true });
}
