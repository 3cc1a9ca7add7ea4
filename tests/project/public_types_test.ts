/** Constructors and types of the public API, and two copies of the library in one program. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { IsExact } from "@std/testing/types";
import * as base from "@degu/degu/base";
import * as certificates from "@degu/degu/certificates";
import * as client from "@degu/degu/client";
import * as device from "@degu/degu/device";
import * as devices from "@degu/degu/device/testing";
import * as files from "@degu/degu/files";
import * as misc from "@degu/degu/misc";
import * as server from "@degu/degu/server";
import * as all from "@degu/degu";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection, catchThrown } from "@degu/testing/expectations.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { ROOT } from "@degu/testing/project_files.ts";
import { fromFileUrl, toFileUrl } from "@std/path";

/** The functions that make the objects of public classes with an internal constructor. */
const makers: Record<string, string> = {
  Device: 'Device.open() of "@degu/degu/device"',
  Request: 'mkreq() of "@degu/degu/misc", or request.with()',
  Session: 'callApp() of "@degu/degu/misc", with its option session',
  TempDevices: 'TempDevices.create() of "@degu/degu/device/testing"',
  TempPKI: 'TempPKI.create() of "@degu/degu/misc"',
  TempSSLServer: 'TempSSLServer.start() of "@degu/degu/misc"',
  TempServer: 'TempServer.start() of "@degu/degu/misc"',
};

type PublicClass = new (...args: unknown[]) => unknown;

const isClass = (value: unknown): value is PublicClass =>
  typeof value === "function" && /^class\b/.test(Function.prototype.toString.call(value));

const publicClasses = [all, base, certificates, client, device, devices, files, misc, server]
  .flatMap((entry) => Object.entries<unknown>(entry))
  .filter((named): named is [string, PublicClass] => isClass(named[1]));

Deno.test("the constructor of a class whose objects functions make names the function", () => {
  const classes = new Map(publicClasses);
  for (const [name, maker] of Object.entries(makers)) {
    for (const args of [[], ["/dir"], [["127.0.0.1", 0], null, () => {}], [{}, {}, {}]]) {
      const error = assertThrows(() => new (classes.get(name)!)(...args), TypeError);
      assertEquals(error.message, `new ${name}(): the constructor is internal; use ${maker}`);
    }
  }
});

Deno.test("any other constructor without arguments makes an error or a stream, or names an argument", () => {
  for (const [name, publicClass] of publicClasses) {
    if (name in makers) continue;
    try {
      const object = new publicClass();
      assert(object instanceof Error || object instanceof TransformStream, name);
    } catch (error) {
      assert(
        error instanceof TypeError && /^\w+: must be /.test(error.message),
        `${name}: ${error}`,
      );
    }
  }
});

type AllTrue<Checks extends readonly true[]> = Checks;

/** The types that apps use. */
export type OfBase = AllTrue<[
  IsExact<base.Method, "GET" | "HEAD" | "DELETE" | "PUT" | "POST" | "PATCH" | "OPTIONS">,
  IsExact<base.HeadersToSend["content-length"], number | undefined>,
  IsExact<base.HeadersToSend["range"], base.Range | base.SuffixRange | string | undefined>,
  IsExact<
    base.HeadersToSend["content-range"],
    base.ContentRange | base.UnsatisfiedRange | string | undefined
  >,
  IsExact<base.HeadersToSend["set-cookie"], string | readonly string[] | undefined>,
  IsExact<
    base.HeadersToSend[string],
    | string
    | number
    | base.Range
    | base.SuffixRange
    | base.ContentRange
    | base.UnsatisfiedRange
    | readonly string[]
    | undefined
  >,
  IsExact<base.ReceivedHeaders["content-length"], number | undefined>,
  IsExact<base.ReceivedHeaders["range"], base.Range | base.SuffixRange | string | undefined>,
  IsExact<
    base.ReceivedHeaders["content-range"],
    base.ContentRange | base.UnsatisfiedRange | string | undefined
  >,
  IsExact<base.ReceivedHeaders["set-cookie"], string[] | undefined>,
  IsExact<base.ReceivedHeaders["x-none"], string | undefined>,
  IsExact<base.BodyIn, null | base.Body | base.ChunkedBody>,
  IsExact<
    base.BodyOut,
    | base.BodyIn
    | string
    | Uint8Array
    | ArrayBuffer
    | Blob
    | URLSearchParams
    | base.BodyIter
    | base.ChunkedBodyIter
    | ReadableStream<Uint8Array>
    | AsyncIterable<Uint8Array | string>
  >,
  IsExact<base.Address, base.HostAddress | base.ScopedAddress | string | Uint8Array>,
  IsExact<base.HostAddress, readonly [host: string, port: number]>,
  IsExact<Awaited<ReturnType<base.Body["text"]>>, string>,
  IsExact<Awaited<ReturnType<base.Body["json"]>>, unknown>,
  IsExact<Awaited<ReturnType<base.Body["bytes"]>>, Uint8Array<ArrayBuffer>>,
  IsExact<typeof base.parseAddress, (text: string) => base.Address>,
  IsExact<typeof base.formatAddress, (address: base.Address) => string>,
  IsExact<base.TlsError["code"], base.TlsErrorCode>,
  IsExact<base.ProtocolError["code"], base.ProtocolErrorCode>,
  IsExact<
    server.ResponseTuple,
    readonly [status: number, reason: string, headers: base.HeadersToSend, body: base.BodyOut]
  >,
]>;

export type OfClient = AllTrue<[
  IsExact<client.ClientOptions["timeout"], number | null | undefined>,
  IsExact<client.ClientOptions["signal"], AbortSignal | undefined>,
  IsExact<client.Client["address"], base.Address>,
  IsExact<client.Client["host"], string | null>,
  IsExact<client.Client["timeout"], number | null>,
  IsExact<ReturnType<client.Client["request"]>, Promise<base.Response>>,
  IsExact<ReturnType<client.Client["connect"]>, Promise<client.Connection>>,
  IsExact<Parameters<client.Client["request"]>[0], base.Method>,
  IsExact<
    client.RequestMessage<"GET" | "HEAD" | "DELETE">,
    [
      headers?: base.HeadersToSend | undefined,
      body?: null | undefined,
      options?: client.RequestOptions | undefined,
    ]
  >,
  IsExact<
    client.RequestMessage<"PUT">,
    | []
    | [
      headers: base.HeadersToSend,
      body: base.BodyOut,
      options?: client.RequestOptions | undefined,
    ]
  >,
  IsExact<
    client.RequestMessage<base.Method>,
    [
      headers?: base.HeadersToSend | undefined,
      body?: base.BodyOut | undefined,
      options?: client.RequestOptions | undefined,
    ]
  >,
  IsExact<client.SSLClient["sslHost"], string | null>,
  IsExact<base.Response["body"], base.BodyIn>,
  IsExact<typeof client.publicKey256, (pem: string) => string>,
]>;

export type OfServer = AllTrue<[
  IsExact<server.App, server.AppFunction | server.AppObject>,
  IsExact<Parameters<server.AppFunction>[0], server.Request>,
  IsExact<Parameters<server.AppFunction>[1], server.Session>,
  IsExact<Parameters<server.AppFunction>[2], server.Api>,
  IsExact<server.Request["method"], base.Method>,
  IsExact<server.Request["body"], base.BodyIn>,
  IsExact<server.Request["headers"], base.ReceivedHeaders>,
  IsExact<server.Session["signal"], AbortSignal>,
  IsExact<server.Server["sessions"], ReadonlySet<server.Session>>,
  IsExact<server.Server["ready"], Promise<void>>,
  IsExact<server.Server["close"], () => void>,
  IsExact<server.Server["shutdown"], () => Promise<void>>,
  IsExact<server.Server["serveForever"], () => Promise<void>>,
]>;

export type OfWeb = AllTrue<[
  IsExact<ReturnType<typeof all.createFetch>, typeof fetch>,
  IsExact<
    Parameters<typeof all.createFetch>,
    [client: client.Requester]
  >,
  IsExact<ReturnType<typeof all.fromFetchHandler>, server.AppFunction>,
]>;

export type OfTools = AllTrue<[
  IsExact<
    typeof device.createDevicePki,
    (
      dir: string,
      name: string,
      options?: { create?: boolean | undefined },
    ) => Promise<{ readonly caFile: string; readonly certFile: string; readonly keyFile: string }>
  >,
  IsExact<device.PairingError["code"], device.PairingErrorCode>,
  IsExact<device.PairingError["peerName"], string | null>,
  IsExact<device.DeviceError["code"], device.DeviceErrorCode>,
  IsExact<ReturnType<typeof misc.TempServer.start>, Promise<misc.TempServer>>,
  IsExact<ReturnType<typeof misc.TempSSLServer.start>, Promise<misc.TempSSLServer>>,
]>;

const FOLDERS = ["apps", "base", "internal", "misc", "net", "program", "web", "worker"];
const ENTRIES = ["base", "certificates", "client", "misc", "mod", "server"];

/** The names of all entries of a copy of the library. */
type PackageCopy = Awaited<ReturnType<typeof loadEntries>>;

/** Loads the entries of the library a second time, from another directory. */
async function loadCopy() {
  const root = fromFileUrl(ROOT);
  const { path, ...dir } = await createTempDir();
  for (const folder of FOLDERS) await copyTree(`${root}/${folder}`, `${path}/${folder}`);
  for (const entry of ENTRIES) await Deno.copyFile(`${root}/${entry}.ts`, `${path}/${entry}.ts`);
  return { ...dir, ...await loadEntries(toFileUrl(`${path}/`)) };
}

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyTree(`${from}/${name}`, `${to}/${name}`);
    else if (name.endsWith(".ts")) await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

async function loadEntries(url: URL | string) {
  const load = (entry: string) => import(new URL(`${entry}.ts`, url).href);
  const main: typeof import("@degu/degu") = await load("mod");
  const base: typeof import("@degu/degu/base") = await load("base");
  const client: typeof import("@degu/degu/client") = await load("client");
  const misc: typeof import("@degu/degu/misc") = await load("misc");
  const server: typeof import("@degu/degu/server") = await load("server");
  return { ...misc, ...server, ...client, ...base, ...main };
}

type RunWithCopies = (own: PackageCopy, other: PackageCopy) => Promise<void> | void;

/**
 * Loads a copy, which the caller disposes of after all tests. `inBothOrders` makes the function of a
 * test, with a step for each order of the two copies.
 */
async function loadCopies() {
  const copy = await loadCopy();
  const original = await loadEntries(ROOT);
  const orders: [name: string, own: PackageCopy, other: PackageCopy][] = [
    ["this copy with objects of the other copy", original, copy],
    ["the other copy with objects of this copy", copy, original],
  ];
  const inBothOrders = (run: RunWithCopies) => (t: Deno.TestContext): Promise<void> =>
    testEachRow(t, orders, (_name, ...copies) => run(...copies));
  return { copy, inBothOrders, dispose: async () => await copy[Symbol.asyncDispose]() };
}

const { copy, inBothOrders, dispose } = await loadCopies();
Deno.test.afterAll(dispose);

const LOOPBACK = ["127.0.0.1", 0] as const;

/** Makes an object of the other copy, hands it to this copy, and returns or throws the result. */
type Seam = (own: PackageCopy, other: PackageCopy) => unknown;

const app = () => [204, "No Content", {}, null] as const;

function makeClient({ Client }: PackageCopy): all.Client {
  return new Client(["127.0.0.1", 1]);
}

function makeRequest({ mkreq }: PackageCopy): all.Request {
  return mkreq("GET", "/");
}

function makeBody({ Body }: PackageCopy): all.Body {
  return new Body(new Blob(["hello"]).stream(), 5);
}

/** Makes a request by a requester whose connections are those of the other copy. */
async function useConnection(
  other: PackageCopy,
  makeRequester: (client: all.Client) => all.Requester,
): Promise<void> {
  await using server = await other.Server.start([...LOOPBACK], app);
  const client = new other.Client(server.address);
  let connection: all.Connection | undefined;
  const connect = client.connect.bind(client);
  client.connect = async () => connection = await connect();
  try {
    await makeRequester(client).request("GET", "/");
  } finally {
    assertEquals(connection?.closed, true);
  }
}

/** Makes a requester of a program's own, whose responses are those of the other copy. */
function makeWrapper({ Response }: PackageCopy): all.Requester {
  return { request: () => Promise.resolve(new Response(200, "OK", {}, null)) };
}

/** The objects that another copy refuses. */
const seams: readonly (readonly [label: string, Seam])[] = [
  ["the session of callApp()", (own, other) => {
    return own.callApp(app, makeRequest(own), { session: other.mkSession({ user: "anna" }) });
  }],
  ["the request of callApp()", (own, other) => own.callApp(app, makeRequest(other))],
  ["a connection of a pool", (own, other) => {
    return useConnection(other, (client) => {
      return new own.ConnectionPool({ connect: () => client.connect() });
    });
  }],
  ["a response in a pool", async (own, other) => {
    const connection = { ...makeWrapper(other), closed: false, close() {} };
    await using pool = new own.ConnectionPool({ connect: () => Promise.resolve(connection) });
    await pool.get("/");
  }],
  ["the body of a response", (own, other) => {
    return own.callApp(() => [200, "OK", {}, makeBody(other)], makeRequest(own));
  }],
  ["the range of a response", (own, other) => {
    const headers = { "content-range": new other.ContentRange(0, 5, 10) };
    return own.callApp(() => [206, "Partial Content", headers, "hello"], makeRequest(own));
  }],
  ["the TLS context of a server", async (own, other) => {
    await using pki = await other.TempPKI.create();
    const context = other.buildServerSslctx(pki.serverSslconfig);
    new own.SSLServer(context, [...LOOPBACK], app);
  }],
];

for (const [label, run] of seams) {
  Deno.test(
    `${label}: an object of another copy is refused`,
    inBothOrders(async (own, other) => {
      await assertRejects(async () => await run(own, other), TypeError);
    }),
  );
}

Deno.test("peerOf() refuses the session of another copy", () => {
  assertThrows(() => device.peerOf(copy.mkSession()), TypeError);
});

/** Starts a server, and returns the status of a GET request, and the logged errors. */
async function request(
  pkg: PackageCopy,
  serverApp: all.App,
): Promise<[status: number, log: string]> {
  const logger = new RecordingLogger();
  await using server = await pkg.Server.start([...LOOPBACK], serverApp, { logger });
  const { status } = await new pkg.Client(server.address).get("/");
  return [status, logger.messagesOf("error").join("\n")];
}

Deno.test("a FilesApp gets no request of another copy: the server answers with 500, and logs why", async () => {
  await using dir = await createTempDir();
  const filesApp = new files.FilesApp(dir.path, { list: true, write: true });
  const [status, log] = await request(copy, filesApp);
  assertEquals(status, 500);
  assertStringIncludes(log, "must be a Request; got Request");
});

Deno.test(
  "a thrown response of another copy causes 500",
  inBothOrders(async (own, other) => {
    const [status, log] = await request(own, () => {
      throw new other.ResponseError(other.reply(404));
    });
    assertEquals(status, 500);
    assertStringIncludes(log, "ResponseError");
    const call = () => {
      return own.callApp(() => {
        throw new other.ResponseError(other.reply(404));
      }, makeRequest(own));
    };
    await assertRejects(call, other.ResponseError);
  }),
);

Deno.test(
  "an identity whose check fails with an error of another copy isn't trusted",
  inBothOrders(async (own, other) => {
    const fail = () => {
      throw new other.ResponseError(other.reply(503));
    };
    const session = { user: "anna", isTrusted: fail };
    const call = (handle: all.App) => own.callApp(handle, makeRequest(own), { session });
    assertEquals((await call(() => own.reply(200))).status, 403);
    const serverApp = { onConnect: () => ({ user: "anna", isTrusted: fail }), handle: app };
    await assertRejects(() => request(own, serverApp), own.EmptyPreambleError);
  }),
);

Deno.test(
  "an error of another copy keeps its fields, by which it is transient, and its code",
  inBothOrders(async (own, other) => {
    using server = new RawServer();
    const pending = catchRejection(new other.Client(server.address).get("/"), "the request");
    const peer = await server.accept();
    await peer.readPreamble();
    peer.close();
    const closed = await pending as all.EmptyPreambleError;
    const refused = await catchRejection(makeClient(other).connect(), "the connection");
    const late = await catchRejection(
      new other.Client(server.address, { timeout: 0.02 }).get("/"),
      "the time-out",
    );
    const argument = catchThrown(() => new other.Client(["a", 80], { timeout: -1 }), "the call");
    const status = new other.StatusError({ message: "", status: 503, method: "GET" });
    const errors = [closed, refused, late, argument, status, new other.Response(503, "", {}, null)];
    for (const error of errors) {
      const results = [own.isTransient(error), own.isTimeout(error)];
      const isResponse = error instanceof other.Response;
      assertEquals(results, [error !== argument && !isResponse, error === late]);
      assertEquals(own.describeArgumentError(error), null);
      assertEquals(error instanceof own.DeguError, false);
    }
    assert(other.isTransient(closed) && other.isTransient(status));
    assertEquals(closed.code, "EMPTY_PREAMBLE");
    assertInstanceOf(closed, other.ConnectionError);
    let attempts = 0;
    const attempt = () => (attempts++, Promise.reject(closed));
    await assertRejects(() => own.retry(attempt, { seconds: 0 }), other.EmptyPreambleError);
    const respond = () => (attempts++, new other.Response(503, "", {}, null));
    assertEquals((await own.retry(respond, { seconds: 0 })).status, 503);
    assertEquals(attempts, 3);
  }),
);
