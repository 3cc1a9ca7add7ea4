/**
 * Serves a directory in which a disk stops to answer lookups. Prints as JSON whether other requests
 * are answered meanwhile, whether clients that leave free their slots, and the statuses of all
 * requests afterward. The argument is the directory of the disk.
 */
import { FilesApp } from "@degu/degu/files";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const [dir = ""] = Deno.args;
const faults = `${dir}/faults`;
await Deno.mkdir(`${dir}/disk/hung`);
await Deno.mkdir(`${dir}/disk/hung/empty`);
for (const name of ["file", "other"]) await Deno.writeTextFile(`${dir}/disk/hung/${name}`, "text");
await Deno.mkdir(`${dir}/ok`);
await Deno.writeTextFile(`${dir}/ok/file`, "text");
await using serving = serve(new FilesApp(dir, { list: true, write: true }));
const requests = [
  ["GET", "/disk/hung/file", null],
  ["GET", "/disk/hung/", null],
  ["GET", "/disk/hung", null],
  ["PUT", "/disk/hung/new", "text"],
  ["DELETE", "/disk/hung/other", null],
  ["DELETE", "/disk/hung/empty/", null],
] as const;
await Deno.writeTextFile(faults, "hang-lstat 0 - ^/hung\n");
let endedCount = 0;
const hungRequests = requests.map(async ([method, uri, body]) => {
  const response = await serving.makeClient().request(method, uri, {}, body);
  await response.discard();
  endedCount++;
  return response.status;
});
// Clients that leave in each kind of request.
const { server, address } = serving;
const waitForSessions = async (isReached: (count: number) => boolean) => {
  for (const end = performance.now() + 20_000; performance.now() < end;) {
    if (isReached(server.sessions.size)) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
};
const leavingPeers = await Promise.all(
  requests.map(([method, uri, body]) => {
    const length = body === null ? "" : `content-length: ${body.length}\r\n`;
    return RawPeer.connect(
      address,
      `${method} ${uri} HTTP/1.1\r\nhost: a\r\n${length}\r\n${body ?? ""}`,
    );
  }),
);
await waitForSessions((count) => count === 2 * requests.length);
for (const peer of leavingPeers) peer.close();
const slotsFreed = await waitForSessions((count) => count === requests.length);
const statuses: number[] = [];
for (const [method, body] of [["GET", null], ["PUT", "new"], ["GET", null]] as const) {
  const response = await serving.makeClient().request(method, "/ok/file", {}, body);
  await response.discard();
  statuses.push(response.status);
}
const endedEarly = endedCount;
await Deno.writeTextFile(faults, "");
console.log(
  JSON.stringify({ statuses, slotsFreed, endedEarly, hung: await Promise.all(hungRequests) }),
);
