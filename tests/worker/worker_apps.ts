/** Apps for tests of `WorkerApp`, which loads them by the URL of this module. */

// Each worker loads these modules, so they aren't all of @degu/degu.
import { json, reply } from "@degu/internal/apps/reply.ts";
import { ResponseError } from "@degu/internal/base/app/app_result.ts";
import { Body, BodyIter, ChunkedBodyIter, ContentRange, Range, SuffixRange } from "@degu/degu/base";
import type { App, AppFunction, Request, Session } from "@degu/degu/server";
import { oddAnswers } from "./odd_answers.ts";
import { describeTrust } from "@degu/testing/trust.ts";

const post = (message: unknown) => Reflect.get(globalThis, "postMessage")(message);

/** Resolves when the app was called with the path `/release`. */
const released = Promise.withResolvers<void>();

async function* count(from: number, to: number): AsyncGenerator<string> {
  for (let i = from; i < to; i++) yield await Promise.resolve(`${i},`);
}

function describeRequest(request: Request, session: Session, classes: object): object {
  const { method, uri, mount, path, query, headers, parameters } = request;
  return {
    ...{ method, uri, mount, path, query, parameters: { ...parameters } },
    headers: { ...headers, range: undefined, host: undefined },
    range: headers.range instanceof Range
      ? "Range"
      : headers.range instanceof SuffixRange
      ? "SuffixRange"
      : typeof headers.range,
    rangeText: `${headers.range}`,
    prototypes: [Object.getPrototypeOf(headers), Object.getPrototypeOf(parameters)],
    store: [...request.store],
    api: Object.keys(classes),
    session: {
      name: `${session}`,
      address: session.address,
      user: session.user,
      requests: session.requests,
      maxRequests: `${session.maxRequests}`,
      certificate: session.peerCertificate === null ? null : {
        ...session.peerCertificate,
        validFrom: session.peerCertificate.validFrom.getTime(),
        raw: session.peerCertificate.raw.length,
        authority: session.peerCertificate.authority?.publicKey256,
      },
    },
  };
}

const paths: Record<string, AppFunction> = {
  describe: (request, session, api) => json(describeRequest(request, session, api) as never),
  echo: async (request) => [200, "OK", {}, await request.bytes()],
  stream: ({ body }) => [200, "OK", {}, body],
  chunks: () => [200, "OK", {}, count(0, 5)],
  bytes: () => [200, "OK", { "x-a": "b", "set-cookie": ["c=d", "e=f"] }, new Uint8Array([1, 2])],
  range: () => [206, "Partial", { "content-range": new ContentRange(2, 4, 9) }, "23"],
  longChunks: () => [200, "OK", {}, count(0, 20000)],
  location: () => [303, "See Other", { location: "/bytes" }, null],
  odd: ({ path }) => oddAnswers[path[1]!]!() as never,
  iterable: () => [200, "OK", {}, new BodyIter([new Uint8Array(3), new Uint8Array(4)], 7)],
  extensions: () => [
    200,
    "OK",
    {},
    new ChunkedBodyIter([[["k", "v"], new Uint8Array([65])], [null, new Uint8Array()]]),
  ],
  unread: () => reply(200, "not read"),
  async partly(request) {
    for await (const piece of request.readable) return reply(200, `${piece.length > 0}`);
    return reply(200, "empty");
  },
  limit: async (request) => reply(200, await request.text({ maxBytes: 3 })),
  json: async (request) => json(await request.json() as never),
  throw() {
    throw new RangeError("thrown by the app", { cause: new Error("deep") });
  },
  throwResponse() {
    throw new ResponseError([418, "Teapot", { "x-a": "b" }, null]);
  },
  tooManyFiles() {
    throw Object.assign(new Error("Too many open files"), { code: "EMFILE" });
  },
  invalid: () => [200, "OK", { "bad name": "x" }, null],
  uncloneable: () => [200, "OK", { "x-function": (() => {}) as never }, null],
  brokenBody: () => [
    200,
    "OK",
    {},
    new Body(
      new ReadableStream({
        start(controller) {
          controller.enqueue(new Uint8Array(5));
        },
        pull(controller) {
          controller.error(new Error("the disk has failed"));
        },
      }),
      10,
    ),
  ],
  /** Answers after the release. */
  async sleep() {
    post("begun");
    await released.promise;
    return reply(200);
  },
  /** Reports its call, and then sends the bytes of the request. */
  slowEcho({ readable }) {
    post("begun");
    return [200, "OK", {}, readable];
  },
  /** Sends some bytes, and ends after the release. */
  stuck: () => [200, "OK", {}, new Body(makeStuckStream(), 100)],
  stuckChunks: () => [200, "OK", {}, makeStuckStream()],
  /** Sends small chunks as long as they are taken, and reports each thousandth of them. */
  smallChunks: () => [200, "OK", {}, makeSmallChunks()],
  /** Closes the session behind the response. */
  async closeLater(_request, session) {
    await Promise.resolve();
    setTimeout(() => session.close(new Error("closed later")), 20);
    return reply(200, "soon closed");
  },
  /** Trusts the peer only for its first call, and doesn't await the check. */
  ownTrust(_request, session) {
    session.addIdentity({ user: "anna", isTrusted: () => session.requests === 0 });
    session.checkTrusted();
    return reply(200);
  },
  sessionCount: () => reply(200, `${sessions.size}`),
  crash: () => self.close() as never,
  uncaught() {
    setTimeout(() => {
      throw new Error("nobody catches this");
    });
    return new Promise(() => {});
  },
  async halfThenCrash() {
    await Promise.resolve();
    return [
      200,
      "OK",
      {},
      new Body(
        new ReadableStream({
          start: (controller) => controller.enqueue(new Uint8Array(5)),
          pull: () => void setTimeout(() => self.close(), 100),
        }),
        10,
      ),
    ];
  },
  warn(_request, session) {
    session.warn("a line\nof the app", new TypeError("the reason"));
    return reply(200);
  },
  closeSession(_request, session) {
    session.close(new Error("not wanted"));
    return reply(200);
  },
  trust: async (_request, session) => reply(200, await describeTrust(session)),
  async trusts(_request, session) {
    return reply(200, `${await Promise.all([1, 2, 3].map(() => session.isTrusted()))}`);
  },
  async checkTrusted(_request, session) {
    await session.checkTrusted();
    return reply(200, "trusted");
  },
  uncheckedTrust(_request, session) {
    session.checkTrusted();
    return reply(200, "not awaited");
  },
  addIdentity(_request, session) {
    session.addIdentity({ user: "anna" });
    return reply(200);
  },
  async signal({ signal }) {
    post("waiting");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    post(`aborted: ${signal.reason.message}`);
    return reply(200);
  },
  async sessionSignal(_request, { signal }) {
    post("waiting");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    post(`session aborted: ${signal.reason.message}`);
    return reply(200);
  },
  store(_request, { store }) {
    const requests = Number(store.get("requests") ?? 0) + 1;
    store.set("requests", requests);
    store.set("resource", { [Symbol.dispose]: () => post(`disposed after ${requests}`) });
    return reply(200, `${requests}`);
  },
  storeFailure(_request, { store }) {
    store.set("resource", {
      [Symbol.dispose]() {
        throw new Error("can't be disposed of");
      },
    });
    return reply(200);
  },
  /** Sends as many bytes as the reader takes, and reports the number. */
  endless() {
    post("begun");
    let sent = 0;
    return [
      200,
      "OK",
      {},
      new BodyIter(
        (function* () {
          for (;;) {
            sent += 65536;
            post(sent);
            yield new Uint8Array(65536);
          }
        })(),
        2 ** 40,
      ),
    ];
  },
  /** Reads nothing of the body until the release. */
  async late(request) {
    post("late");
    post("begun");
    await released.promise;
    return reply(200, `${(await request.bytes()).length}`);
  },
  release() {
    released.resolve();
    return reply(200);
  },
  /** Responds in upper case, while the request is sent. */
  upper: ({ readable }) => [
    200,
    "OK",
    {},
    readable.pipeThrough(new TextDecoderStream() as never)
      .pipeThrough(
        new TransformStream<string, Uint8Array>({
          transform: (text, controller) =>
            controller.enqueue(new TextEncoder().encode(text.toUpperCase())),
        }),
      ),
  ],
};

function makeStuckStream(): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start: (controller) => controller.enqueue(new Uint8Array(5)),
    async pull(controller) {
      post("begun");
      await released.promise;
      controller.close();
    },
  });
}

async function* makeSmallChunks(): AsyncGenerator<Uint8Array> {
  for (let count = 1;; count++) {
    if (count % 1000 === 0) post(count);
    yield await Promise.resolve(new Uint8Array(1));
  }
}

const sessions = new Set<Session>();

export const app: AppFunction = (request, session, api) => {
  sessions.add(session);
  session.store.set("entry", { [Symbol.dispose]: () => sessions.delete(session) });
  const handle = paths[request.path[0] ?? ""];
  return handle === undefined ? reply(404) : handle(request, session, api);
};

export const makeApp = (name: string, options: object): App => () => json({ name, options });

export class AppClass {
  readonly isMount = true;
  constructor(readonly name: string) {}
  handle = () => reply(200, this.name);
  async [Symbol.asyncDispose]() {
    await Promise.resolve();
    post(`${this.name} was disposed of`);
  }
}

/** Blocks its thread in `/block` until the number isn't 0. */
export const makeBlocking = (number: Int32Array): App => (request, session, api) => {
  if (request.path[0] !== "block") return app(request, session, api);
  post("begun");
  Atomics.wait(number, 0, 0);
  return reply(200, "unblocked");
};

export const withConnect: App = { onConnect: () => true, handle: () => reply(200) };
export const makeNothing = () => undefined;
/** Makes an app at the first call, and hangs at later calls. */
export const hangAfter = (calls: Int32Array): App | Promise<never> =>
  Atomics.add(calls, 0, 1) === 0 ? app : new Promise(() => {});
export const failToMake = () => {
  throw new RangeError("no app today");
};

/** Ends the worker each time that it is loaded after the first time. */
export function failAfter(counter: string): App {
  const count = Number(Deno.readTextFileSync(counter)) + 1;
  Deno.writeTextFileSync(counter, `${count}`);
  if (count > 1) throw new Error("no second app");
  return app;
}
