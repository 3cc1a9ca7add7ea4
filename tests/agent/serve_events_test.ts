/** What `degu serve` says of the files of its peers. */
import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { FakeTime } from "@std/testing/time";
import { downloadTree, type FileEvent, uploadTree } from "@degu/degu/files";
import type { Session } from "@degu/degu/server";
import { OutputClosed } from "@degu/internal/agent/failure.ts";
import type { Output } from "@degu/internal/agent/output.ts";
import { ServeApp } from "@degu/internal/agent/commands/serve.ts";
import { ServeEvents } from "@degu/internal/agent/serve_events.ts";
import { makeTreeAt } from "@degu/testing/agent_files.ts";
import { LOOPBACK } from "@degu/testing/device_clients.ts";
import { record, TestDevices } from "@degu/testing/device_pairs.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

Deno.test("downloads, uploads and deletions by peers are reported; listings, probes and refusals are not", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  await record(camera, viewer);
  const inbox = join(devices.path("."), "inbox");
  await Deno.mkdir(inbox);
  const texts: string[] = [];
  const objects: unknown[] = [];
  const warnings: string[] = [];
  const lines: string[] = [];
  const outputs = [
    { json: false, note: (text: string) => lines.push(text) },
    { json: false, note: (text: string) => texts.push(text) },
    { json: true, result: (_text: string, object: unknown) => objects.push(object) },
    {
      json: true,
      result: () => {
        throw new OutputClosed("the output was closed");
      },
      warn: (text: string) => warnings.push(text),
    },
  ] as unknown as Output[];
  const reporters = outputs.map((output, i) => new ServeEvents(output, { verbose: i === 1 }));
  let session: Session | undefined;
  const served = { name: "camera", share: null, inbox };
  const app = new ServeApp(served, new RecordingLogger(), (area, event) => {
    session = event.session;
    for (const reporter of reporters) reporter.add(area, event);
  });
  const server = camera.listen(LOOPBACK, app);
  server.serveForever();
  await server.ready;
  await record(viewer, camera, { addresses: [server.address] });
  {
    using connection = await (await viewer.client("camera")).connect();
    const requests = [
      () => connection.put("/inbox/a~20b/c", {}, new TextEncoder().encode("hello")),
      () => connection.get("/"),
      () => connection.get("/inbox/"),
      () => connection.get("/inbox/absent"),
      () => connection.head("/inbox/a~20b/c"),
      () => connection.get("/inbox/a~20b/c"),
      () => connection.delete("/inbox/a~20b/c"),
    ];
    for (const request of requests) await (await request()).body?.bytes();
  }
  await server.shutdown();
  for (const reporter of reporters) reporter[Symbol.dispose]();
  assertEquals(lines, [
    "viewer uploaded 1 file (5 B), downloaded 1 file (5 B), deleted 1 file",
  ]);
  assertEquals(texts, [
    "viewer uploaded inbox/a b/c (5 B)",
    "viewer downloaded inbox/a b/c (5 B)",
    "viewer deleted inbox/a b/c",
  ]);
  assertEquals(warnings, ["what peers do can't be reported: the output was closed"]);
  const common = { peer: "viewer", id: viewer.id, path: "inbox/a b/c", complete: true };
  assertEquals(objects, [
    { event: "put", ...common, status: 201, bytes: 5 },
    { event: "get", ...common, status: 200, bytes: 5 },
    { event: "delete", ...common, status: 204, bytes: 0 },
  ]);
  checkCollecting(session!);
});

Deno.test("each file of a bundle is counted", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  await record(camera, viewer);
  const dir = (name: string) => join(devices.path("."), name);
  await makeTreeAt(dir("here"), { "a": "1", "sub/b": "22", "sub/c": "333" });
  await Deno.mkdir(dir("inbox"));
  const lines: string[] = [];
  const output = { json: false, note: (text: string) => lines.push(text) } as unknown as Output;
  const events = new ServeEvents(output);
  const served = { name: "camera", share: null, inbox: dir("inbox") };
  const onFile = (area: "share" | "inbox", event: FileEvent) => events.add(area, event);
  const app = new ServeApp(served, new RecordingLogger(), onFile);
  const server = camera.listen(LOOPBACK, app);
  server.serveForever();
  await server.ready;
  await record(viewer, camera, { addresses: [server.address] });
  const client = await viewer.client("camera");
  await uploadTree(client, dir("here"), "/inbox/top/");
  await downloadTree(client, "/inbox/top/", dir("back"));
  await server.shutdown();
  events[Symbol.dispose]();
  assertEquals(lines, ["viewer uploaded 3 files (6 B), downloaded 3 files (6 B)"]);
});

/** Feeds events of many files, as the app reports them. */
function checkCollecting(session: Session): void {
  using time = new FakeTime();
  const lines: string[] = [];
  const output = { json: false, note: (text: string) => lines.push(text) } as unknown as Output;
  using events = new ServeEvents(output);
  const add = (action: FileEvent["action"], name: string, bytes: number, complete = true) =>
    events.add("inbox", { session, action, path: ["dir", name], bytes, complete, status: 200 });
  for (let i = 0; i < 10_000; i++) {
    add("put", `${i}`, 1000);
    time.tick(1); // so it is never silent for a second
  }
  assertEquals(lines, []);
  time.tick(1000);
  assertEquals(lines.splice(0), ["viewer uploaded 10000 files (10.0 MB)"]);
  add("get", "film", 700, false);
  time.tick(999);
  assertEquals(lines, []);
  time.tick(1);
  assertEquals(lines.splice(0), ["viewer downloaded inbox/dir/film (700 B, cut off)"]);
  // Continued: still one file.
  add("get", "film", 700, false);
  add("get", "film", 300);
  events.add("inbox", {
    session: undefined,
    action: "get",
    path: [],
    bytes: 1,
    complete: true,
    status: 200,
  });
  time.tick(1000);
  assertEquals(lines.splice(0), ["viewer downloaded 1 file (1.00 kB); 1 cut off"]);
  // Nothing is lost at the end.
  add("delete", "film", 0);
  events[Symbol.dispose]();
  assertEquals(lines.splice(0), ["viewer deleted inbox/dir/film"]);
}
