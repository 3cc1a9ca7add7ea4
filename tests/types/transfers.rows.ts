/** Programs that transfer files. */

import type { RightPrograms, WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = [
  [
    "a path and a URI that are swapped",
    `await upload(client, "/tmp/to/1.jpg", "/tmp/from/1.jpg");`,
    `await upload(client, "/tmp/from/1.jpg", "/tmp/to/1.jpg");`,
    ["NotFound", "file: /tmp/to/1.jpg"],
  ],
  [
    "a path and the names of a URI that are swapped",
    `await upload(client, ["to", "1.jpg"], "/tmp/from/1.jpg");`,
    `await upload(client, "/tmp/from/1.jpg", ["to", "1.jpg"]);`,
    "'string[]' is not assignable to parameter of type 'string | URL | ReadableStream",
  ],
  [
    "a tree whose result is ignored",
    `const dir = import.meta.dirname!;
await Deno.mkdir(\`\${dir}/there/a/b\`, { recursive: true });
await Deno.mkdir(\`\${dir}/here\`);
await Deno.writeTextFile(\`\${dir}/here/a\`, "a directory has this name");
const files = new FilesApp(\`\${dir}/there\`, { list: true, write: true });
await using serving = await Server.start(["127.0.0.1", 0], files);
await uploadTree(new Client(serving.address), \`\${dir}/here\`, [], { onEvent() {} });`,
    `const { failed } = await uploadTree(client, "/tmp/here", [], { partial: true });
if (failed > 0) console.error(failed);`,
    ["TransferError", '1 entry could not be copied or deleted: "a": a directory has this name'],
  ],
  [
    "a list that is awaited",
    `const names = (await listDirectory(client, "/")).map(({ name }) => name);`,
    `const names = (await Array.fromAsync(listDirectory(client, "/"))).map(({ name }) => name);`,
    "'AsyncIterable<DirectoryEntry",
  ],
  [
    "a list that is awaited, and iterated",
    `for (const { name } of await listDirectory(client, "/")) console.log(name);`,
    `for await (const { name } of listDirectory(client, "/")) console.log(name);`,
    "TS2488",
  ],
  [
    "the peer of a session that has none",
    `await callApp((_request, session) => reply(200, peerOf(session).name), mkreq("GET", "/"));`,
    `await device.serve(address, (_request, session) => reply(200, peerOf(session).name));`,
    ["TypeError", "must belong to a DeviceServer"],
  ],
  [
    "a code that is not a TransferError's",
    `const isThere = (error: TransferError) => error.code === "CONFLICT";`,
    `const isThere = (error: TransferError) => error.code === "EXISTS";`,
    "TS2367",
  ],
  [
    "needed bytes of a StatusError",
    `const needed = (error: StatusError) => error.needed;`,
    `const needed = (error: TransferError) => error.at === "remote" ? error.needed : null;`,
    "Property 'needed' does not exist on type 'StatusError'",
  ],
  [
    "a time as a number",
    `await upload(client, "/tmp/a", "/a", { modified: Date.now() });`,
    `await upload(client, "/tmp/a", "/a", { modified: new Date() });`,
    "Type 'number' is not assignable to type",
  ],
  [
    "a time as a text",
    `await download(client, "/a", "/tmp/a", { modified: "2026-01-02" });`,
    `await download(client, "/a", "/tmp/a", { modified: new Date("2026-01-02") });`,
    "TS2322",
  ],
];

/** Programs that must compile. */
export const RIGHT: RightPrograms = {
  "reading the fields of a TransferError": `
try {
  await upload(client, "/tmp/a", ["a"], { replace: false, modified: undefined });
  await uploadTree(client, "/tmp/a", [], { partial: false });
} catch (error) {
  if (!(error instanceof TransferError)) throw error;
  const { code, at, needed, free, result, cause } = error;
  if (code === "DISK_FULL") console.error(at === "local", needed ?? 0, free ?? 0);
  if (code === "INCOMPLETE" && result !== null) console.error(result.failed, result.deletionsSkipped);
  if (cause instanceof StatusError) console.error(cause.status);
}
`,
};
