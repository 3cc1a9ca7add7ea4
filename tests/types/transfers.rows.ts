/** Programs that transfer files. */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = parseWrongPrograms(`
a path and a URI that are swapped | NotFound: file: /tmp/to/1.jpg
- await upload(client, "/tmp/to/1.jpg", "/tmp/from/1.jpg");
+ await upload(client, "/tmp/from/1.jpg", "/tmp/to/1.jpg");

a path and the names of a URI that are swapped | 'string[]' is not assignable to parameter of type 'string | URL | ReadableStream
- await upload(client, ["to", "1.jpg"], "/tmp/from/1.jpg");
+ await upload(client, "/tmp/from/1.jpg", ["to", "1.jpg"]);

a tree whose result is ignored | TransferError: 1 entry could not be copied or deleted: "a": a directory has this name
- const dir = import.meta.dirname!;
- await Deno.mkdir(\`\${dir}/there/a/b\`, { recursive: true });
- await Deno.mkdir(\`\${dir}/here\`);
- await Deno.writeTextFile(\`\${dir}/here/a\`, "a directory has this name");
- const files = new FilesApp(\`\${dir}/there\`, { list: true, write: true });
- await using serving = await Server.start(["127.0.0.1", 0], files);
- await uploadTree(new Client(serving.address), \`\${dir}/here\`, [], { onEvent() {} });
+ const { failed } = await uploadTree(client, "/tmp/here", [], { partial: true });
+ if (failed > 0) console.error(failed);

a list that is awaited | 'AsyncIterable<DirectoryEntry
- const names = (await listDirectory(client, "/")).map(({ name }) => name);
+ const names = (await Array.fromAsync(listDirectory(client, "/"))).map(({ name }) => name);

a list that is awaited, and iterated | TS2488
- for (const { name } of await listDirectory(client, "/")) console.log(name);
+ for await (const { name } of listDirectory(client, "/")) console.log(name);

the peer of a session that has none | TypeError: must be a session of a DeviceServer
- await callApp((_request, session) => reply(200, peerOf(session).name), mkreq("GET", "/"));
+ await device.serve(address, (_request, session) => reply(200, peerOf(session).name));

a code that is not a TransferError's | TS2367
- const isThere = (error: TransferError) => error.code === "CONFLICT";
+ const isThere = (error: TransferError) => error.code === "EXISTS";

needed bytes of a StatusError | Property 'needed' does not exist on type 'StatusError'
- const needed = (error: StatusError) => error.needed;
+ const needed = (error: TransferError) => error.at === "remote" ? error.needed : null;

a time as a number | Type 'number' is not assignable to type
- await upload(client, "/tmp/a", "/a", { modified: Date.now() });
+ await upload(client, "/tmp/a", "/a", { modified: new Date() });

the bytes of this call as the progress | Property 'bytes' does not exist on type 'TransferProgress'
- await download(client, "/a", "/tmp/a", { onProgress: ({ bytes, total }) => console.log(bytes / total) });
+ await download(client, "/a", "/tmp/a", { onProgress: ({ done, total }) => console.log(done / total) });

the bytes of a tree's progress | Property 'bytes' does not exist on type
- await uploadTree(client, "/tmp/a", [], { onEvent: (event) => event.type === "progress" && console.log(event.bytes) });
+ await uploadTree(client, "/tmp/a", [], { onEvent: (event) => event.type === "progress" && console.log(event.done) });

the bytes of an attempt as its progress | 'bytes' does not exist in type '{ readonly done: number; }'
- await retry((moved) => download(client, "/a", "/tmp/a", { onProgress: ({ transferred }) => moved({ bytes: transferred }) }));
+ await retry((moved) => download(client, "/a", "/tmp/a", { onProgress: ({ done }) => moved({ done }) }));

a pending file as a reason | TS2367
- await uploadTree(client, "/tmp/a", [], { onEvent: (event) => event.type === "skipped" && event.reason === "still being written" });
+ await uploadTree(client, "/tmp/a", [], { onEvent: (event) => event.type === "pending" });

a time as a text | TS2322
- await download(client, "/a", "/tmp/a", { modified: "2026-01-02" });
+ await download(client, "/a", "/tmp/a", { modified: new Date("2026-01-02") });
`);

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
