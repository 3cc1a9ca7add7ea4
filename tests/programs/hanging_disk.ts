/**
 * Serves a directory in which a disk stops to answer lookups, and prints whether other requests are
 * answered meanwhile, and the statuses of all requests afterward, as JSON. The argument is the
 * directory of the disk.
 */
import { FilesApp } from "@degu/files";
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
const statuses: number[] = [];
for (const [method, body] of [["GET", null], ["PUT", "new"], ["GET", null]] as const) {
  const response = await serving.makeClient().request(method, "/ok/file", {}, body);
  await response.discard();
  statuses.push(response.status);
}
const endedEarly = endedCount;
await Deno.writeTextFile(faults, "");
console.log(JSON.stringify({ statuses, endedEarly, hung: await Promise.all(hungRequests) }));
