/** Errors, responses and trust between two copies of the packages. */
import { Client, describeConnectionError, isTransient, retry } from "@degu/degu/client";
import { describeArgumentError } from "@degu/degu/base";
import { type AppObject, Server } from "@degu/degu/server";
import { FilesApp } from "@degu/files";
import { UnknownTrustError } from "@degu/internal/device/trust_signals.ts";
import { loadCopy } from "@degu/testing/copied_package.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection, catchThrown } from "@degu/testing/expectations.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertRejects } from "@std/assert";

Deno.test("errors and responses of another copy of the package are retried and described", async () => {
  await using copy = await loadCopy();
  assertEquals(copy.Client === Client, false);
  using server = new RawServer();
  const timeoutError = await catchRejection(
    new copy.Client(server.address, { timeout: 0.02 }).request("PUT", "/"),
    "it",
  );
  const copiedErrors = [
    [timeoutError, true, { fault: "timed out", silentSeconds: 0.02 }],
    [new copy.EmptyPreambleError(), true, { fault: "broken" }],
    [new copy.ProtocolError("BODY_INCOMPLETE", ""), true, { fault: "broken" }],
    [new copy.ProtocolError("BAD_HEADER_NAME", ""), false, null],
    [new copy.TlsError("CLOSED", ""), true, { fault: "broken" }],
    [new copy.TlsError("UNTRUSTED", ""), false, null],
    [Object.assign(new copy.DeguError(""), { status: 503 }), true, null],
    [Object.assign(new copy.DeguError(""), { status: 404 }), false, null],
  ] as const;
  for (const [error, transient, expected] of copiedErrors) {
    assertEquals([isTransient(error), copy.isTransient(error)], [transient, transient]);
    const description = describeConnectionError(error);
    const defaults = {
      address: null,
      isConnecting: false,
      missingBytes: null,
      waitedSeconds: null,
      unreadSeconds: null,
    };
    assertEquals(description, expected && { ...defaults, silentSeconds: null, ...expected });
  }
  const lookupError = await catchRejection(
    new copy.Client(["name.invalid", 80]).connect(),
    "the call",
  );
  assertEquals([describeConnectionError(lookupError)?.fault, isTransient(lookupError)], [
    "unknown name",
    true,
  ]);

  // A request that the server may have processed is never retried.
  using rawServer = new RawServer();
  const requestFailure = catchRejection(
    new copy.Client(rawServer.address).request("POST", "/"),
    "it",
  );
  const peer = await rawServer.accept();
  await peer.readPreamble();
  peer.close();
  assertEquals(isTransient(await requestFailure), false);

  for (const [ClientClass, retryWith] of [[copy.Client, retry], [Client, copy.retry]] as const) {
    const status = { GET: 502, POST: 502 };
    for (const method of ["GET", "POST"] as const) {
      let requestCount = 0;
      await using serving = serve(
        () => [requestCount++ === 0 ? status[method] : 200, "xx", {}, "a"],
      );
      const client = new ClientClass(serving.server.address);
      const response = await retryWith(() => client.request(method, "/"), { seconds: 0 });
      assertEquals([response.status, requestCount], method === "GET" ? [200, 2] : [502, 1]);
      const statusError = await catchRejection(
        copy.expectOk(new copy.Response(503, "xx", { "retry-after": "5" }, null)),
        "it",
      );
      assertEquals(isTransient(statusError), true);
    }
  }
  let hangUpCount = 0;
  const hangUp = () => (hangUpCount++, Promise.reject(new copy.EmptyPreambleError()));
  await assertRejects(() => retry(hangUp, { seconds: 0 }), copy.EmptyPreambleError);
  assertEquals(hangUpCount, 2);

  for (const ClientClass of [Client, copy.Client]) {
    const rows: [options: object, argument: string, problem: string][] = [
      [{ timeout: "5" }, "timeout", "must be a number of seconds, or null; got string"],
      [
        { timeout: -1 },
        "timeout",
        "must be a number of seconds above 0 and at most 3600, or null for no limit; got -1",
      ],
    ];
    for (const [options, argument, problem] of rows) {
      const error = catchThrown(
        () => Reflect.construct(ClientClass, [["a", 80], options]),
        "the call",
      );
      assertEquals((error as Error).message, `${argument}: ${problem}`);
      assertEquals(describeArgumentError(error), { argument, problem });
      assertEquals(Object.keys(error as Error), []);
    }
  }
});

Deno.test("trust fails closed between two copies of the package, in both combinations", async () => {
  await using copy = await loadCopy();
  assertEquals(copy.Server === Server, false);
  const ownClasses = { FilesApp, Server };
  for (const [serving, files] of [[ownClasses, copy], [copy, ownClasses], [copy, copy]] as const) {
    await using dir = await createTempDir();
    let isTrusted = () => true;
    const app = new files.FilesApp(dir.path, { write: true });
    const gated: AppObject = {
      onConnect: () => ({ user: "anna", isTrusted: () => isTrusted() }),
      handle: (request, session) => app.handle(request, session),
    };
    const server = new serving.Server(["127.0.0.1", 0], gated);
    await using _server = server;
    server.serveForever();
    const client = new Client(server.address);
    using conn = await client.connect();
    assertEquals((await conn.put("/a", {}, "1")).status, 201);
    using laterConn = await client.connect();
    assertEquals(await (await laterConn.get("/a")).text(), "1");
    isTrusted = () => false;
    assertEquals((await conn.put("/a", {}, "2")).status, 403);
    isTrusted = () => {
      throw new UnknownTrustError("too many open files");
    };
    assertEquals((await laterConn.put("/a", {}, "2")).status, 503);
    assertEquals(await Deno.readTextFile(`${dir.path}/a`), "1");
  }
});
