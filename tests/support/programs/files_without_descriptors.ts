/** A FilesApp that has run out of file descriptors; argument: the directory. Prints the answers and the warnings. */
import { Body } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { fileUri } from "@degu/internal/files/file_name.ts";
import { mkreq } from "@degu/degu/misc";

const [dir = ""] = Deno.args;
const warnings: string[] = [];
const app = new FilesApp(dir, {
  write: true,
  list: true,
  logger: { warn: (message) => void warnings.push(message) },
});
const uri = fileUri("a\nWARNING \x1b[2J");
const put = () => mkreq("PUT", uri, {}, new Body(new Blob(["x"]).stream(), 1));
const requests = () => [mkreq("GET", uri), mkreq("GET", "/"), put()];
const statuses: unknown[] = [(await app.handle(put()))[0]];

// What needs a descriptor of its own when it is used first is used now: Deno ends the process where there is none.
Deno.addSignalListener("SIGUSR2", () => {});
for (const request of requests()) {
  const [, , , body] = await app.handle(request);
  if (body !== null && "writeTo" in body) await body.writeTo({ write: () => Promise.resolve() });
}

const opened: Deno.FsFile[] = [];
try {
  while (true) opened.push(Deno.openSync("/dev/null"));
} catch {
  // There are no more.
}
for (const request of requests()) {
  const answer = await app.handle(request).catch((error) => [`${error}`]);
  statuses.push(answer[0]);
}
for (const file of opened) file.close();
console.log(JSON.stringify({ statuses, warnings }));
Deno.exit();
