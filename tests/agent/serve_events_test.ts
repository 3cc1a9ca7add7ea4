/** What `degu serve` says of exchanges, with real ones. */
import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import type { Exchange } from "@degu/degu/server";
import { OutputClosed } from "@degu/internal/agent/failure.ts";
import type { Output } from "@degu/internal/agent/output.ts";
import { ServeApp } from "@degu/internal/agent/serve_app.ts";
import { exchangeReporter } from "@degu/internal/agent/serve_events.ts";
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
  const outputs = [
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
  const reporters = outputs.map(exchangeReporter);
  const onExchange = (exchange: Exchange) => reporters.forEach((report) => report(exchange));
  const app = new ServeApp({ name: "camera", share: null, inbox }, new RecordingLogger());
  const server = camera.listen(LOOPBACK, app, { onExchange });
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
  assertEquals(texts, [
    "viewer has put inbox/a b/c (5 bytes)",
    "viewer has got inbox/a b/c (5 bytes)",
    "viewer has removed inbox/a b/c",
  ]);
  assertEquals(warnings, ["what peers do can't be reported: the output was closed"]);
  const common = { peer: "viewer", id: viewer.id, path: "inbox/a b/c", complete: true };
  assertEquals(objects, [
    { event: "put", ...common, status: 201, bytes: 5 },
    { event: "get", ...common, status: 200, bytes: 5 },
    { event: "delete", ...common, status: 204, bytes: 0 },
  ]);
});
