/**
 * Connects to unreachable addresses, in a network namespace that it configures; run it through
 * `unshare -rn`. The argument is a client's TLS configuration in JSON. Prints the error messages as
 * JSON.
 */

import { Client, ConnectionError, SSLClient } from "@degu/degu/client";
import { runIp } from "@degu/testing/namespaces.ts";

await runIp("link", "set", "lo", "up");
await runIp("route", "add", "unreachable", "10.9.9.9/32");
await runIp("-6", "address", "del", "::1/128", "dev", "lo");

const sslconfig = JSON.parse(Deno.args[0]!);
const findings: Record<string, unknown> = {};
for (const host of ["10.9.9.9", "10.8.8.8", "::1", "name.invalid"]) {
  const address = [host, 80] as const;
  for (const client of [new Client(address), new SSLClient(sslconfig, address)]) {
    const error = await client.connect().then(() => null, (error) => error);
    if (!(error instanceof ConnectionError)) throw error;
    const { fault, isConnecting, silentSeconds, unreadSeconds, missingBytes } = error;
    findings[`${client.constructor.name} ${host}`] = {
      description: {
        fault,
        address: error.address,
        isConnecting,
        silentSeconds,
        unreadSeconds,
        missingBytes,
      },
      transient: error.isTransient,
      systemCode: error.code,
    };
  }
}
console.log(JSON.stringify(findings));
