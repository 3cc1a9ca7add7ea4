/**
 * What is refused by design: requests of curl to a Degu server, and responses of Node to a Degu client.
 *
 * @module
 */

import { Client } from "@degu/degu";
import type { TempPKI } from "@degu/degu/misc";
import type { Served } from "./degu_server.ts";
import { printTable } from "./print.ts";
import { complaintOf, run } from "./programs.ts";
import { STARTS, startServer } from "./servers.ts";

/** Arguments of curl, before the path. */
const REQUESTS: readonly (readonly [path: string, ...args: string[]])[] = [
  ["/files/digits", "-r", "3-"],
  ["/files/digits", "-r", "-3"],
  ["/files/digits", "-r", "0-1,4-5"],
  ["/a%20b"],
  ["/a;b=c"],
  ["//a"],
  ["/", "-X", "PATCH", "-d", "x"],
  ["/", "-X", "OPTIONS"],
  ["/", "--http1.0"],
  ["/", "-X", "DELETE", "-d", "x"],
  ["/", "-H", "content-length: 0"],
  ["/", "-H", "a: é"],
];

const RESPONSES = ["/cookies", "/hints", "/trailers", "/unsatisfied", "/until-close"];

/** Prints what the server logs, and what the client reports. */
export async function printRefused(served: Served, pki: TempPKI, dir: string): Promise<void> {
  const requests = [];
  for (const [path, ...args] of REQUESTS) {
    served.reset();
    const ending = await run(["curl", "-sS", "--fail", ...args, served.http + path]);
    if (ending === null) return console.log("curl: not installed");
    const outcome = served.log[0]?.replace(/^\S+: /, "") ?? "accepted";
    requests.push([`curl ${[...args, path].join(" ")}`, outcome, complaintOf(ending)]);
  }
  printTable(["request", "the server logs", "curl prints"], requests);
  console.log();

  const node = STARTS.find(({ name }) => name === "Node")!;
  await using server = await startServer(node, served, pki, dir);
  if (server === null) return console.log("Node: not installed");
  const responses = [];
  for (const path of RESPONSES) {
    const client = new Client(["127.0.0.1", server.ports.FILES], { timeout: 5 });
    responses.push([path, await outcomeOf(client, path)]);
  }
  printTable(["response", "the client rejects with"], responses);
}

async function outcomeOf(client: Client, path: string): Promise<string> {
  try {
    const response = await client.request("GET", path);
    return `${response.status} ${await response.body?.text()}`;
  } catch (error) {
    return String(error);
  }
}
