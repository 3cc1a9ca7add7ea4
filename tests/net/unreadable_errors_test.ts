/** Thrown values that can't be read: they end one call or one connection, and reach the caller. */
import { assert } from "@std/assert";
import { Body } from "@degu/degu/base";
import { Client, ConnectionPool, type Connector } from "@degu/degu/client";
import { type App, ProxyApp, reply, ResponseError, routes, Server } from "@degu/degu";
import { serve } from "@degu/testing/serving.ts";
import { unreadableErrors } from "@degu/testing/unreadable_errors.ts";

async function* yieldAndThrow(error: unknown) {
  yield new Uint8Array(3);
  throw error;
}

for (const [name, makeError] of unreadableErrors) {
  const error = makeError();
  const reject = () => Promise.reject(error);
  const fail = () => {
    throw error;
  };
  Deno.test(`an app that throws ${name} ends only its own connection`, async () => {
    const apps: App[] = [
      fail,
      reject,
      routes({ "GET /": fail }),
      () => [200, "OK", {}, yieldAndThrow(error)],
      () => [200, "OK", {}, new Body({ read: reject }, 5)],
      () => [200, "OK", {}, error as string],
      () => Promise.reject(Object.assign(new ResponseError(reply(200)), { response: error })),
      new ProxyApp({ request: reject }),
      new ProxyApp({ connect: reject }),
      { onConnect: fail, handle: () => reply(200) },
    ];
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    for (const app of apps) {
      await using server = await Server.start(["127.0.0.1", 0], app, { logger });
      for (let i = 0; i < 2; i++) {
        await new Client(server.address).request("GET", "/").then((response) => response.text())
          .catch(() => {});
      }
      (await new Client(server.address).connect()).close();
    }
  });

  Deno.test(`a request rejects with ${name} of its body, its signal or its connector`, async () => {
    await using serving = serve(async (request) => [200, "OK", {}, await request.text()]);
    const client = new Client(serving.server.address);
    const abortedSignal = AbortSignal.abort(error);
    const connectors: Connector[] = [
      { connect: reject },
      { connect: fail },
      { connect: () => Promise.resolve({ closed: false, close() {}, request: reject }) },
    ];
    await using pool = new ConnectionPool(client);
    const calls = [client, pool].flatMap((requester) => [
      () => requester.post("/", {}, yieldAndThrow(error)),
      () => requester.post("/", {}, new Body({ read: reject }, 5)),
      () => requester.get("/", {}, { signal: abortedSignal }),
      () => {
        const controller = new AbortController();
        const request = requester.post("/", {}, "a", { signal: controller.signal });
        controller.abort(error);
        return request;
      },
      async () => (await requester.post("/", {}, "a")).body!.writeTo({ write: reject }),
    ]);
    calls.push(...connectors.map((connector) => async () => {
      await using failingPool = new ConnectionPool(connector, { repeat: "any" });
      return await failingPool.put("/", {}, "a");
    }));
    for (const call of calls) {
      let rejection: unknown;
      await call().catch((reason) => void (rejection = reason));
      // `assertEquals` would read the error.
      assert(rejection === error);
    }
  });
}
