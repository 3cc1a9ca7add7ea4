/**
 * Thrown values for which `instanceof` or each access to a property throws an error: an app that
 * throws them ends one connection.
 */
import { Body, ConnectionClosedError, EmptyPreambleError } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { type App, ProxyApp, reply, ResponseError, routes, Server } from "@degu/degu";

function makeRevokedProxy(target: object): unknown {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function throwTrapError(): never {
  throw new Error("of a trap");
}

const throwingHandler: ProxyHandler<object> = new Proxy({}, { get: () => throwTrapError });

const unreadableErrors: readonly (readonly [name: string, makeError: () => unknown])[] = [
  ["a revoked proxy", () => makeRevokedProxy({})],
  ["a revoked proxy of an error", () => makeRevokedProxy(new Error())],
  ["a revoked proxy of a function", () => makeRevokedProxy(() => {})],
  [
    "an error whose properties throw a revoked proxy",
    () =>
      Object.defineProperty(new Error(), "code", {
        get() {
          throw makeRevokedProxy({});
        },
      }),
  ],
  ["a proxy whose traps throw", () => new Proxy(new Error(), throwingHandler)],
  ...[new EmptyPreambleError(), new ConnectionClosedError(), new DOMException()].map((error) => {
    const makeError = () => new Proxy(error, { get: throwTrapError });
    return [
      `a proxy of ${error.constructor.name} whose properties can't be read`,
      makeError,
    ] as const;
  }),
];

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
      (_, session) => {
        session.close(error);
        return reply(200);
      },
      (_, session) => {
        session.store.set("sync", { [Symbol.dispose]: fail });
        session.store.set("async", { [Symbol.asyncDispose]: reject });
        return reply(200);
      },
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
}
