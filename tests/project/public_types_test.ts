/** The public interface as its users see it: a name or type that changes fails here first. */
import { assertEquals } from "@std/assert";
import type { IsExact } from "@std/testing/types";
import * as base from "@degu/degu/base";
import * as client from "@degu/degu/client";
import * as device from "@degu/degu/device";
import * as files from "@degu/degu/files";
import * as misc from "@degu/degu/misc";
import * as pool from "@degu/degu/pool";
import * as server from "@degu/degu/server";
import * as all from "@degu/degu";

const entries: Record<string, [entry: object, names: string]> = {
  base: [
    base,
    "Body BodyError BodyIter ChunkedBody ChunkedBodyIter ChunkedDecoderStream ChunkedEncoderStream " +
    "ConnectionClosedError ContentRange DeguError EmptyPreambleError LengthDecoderStream " +
    "LengthEncoderStream ProtocolError Range Response TlsError api bodies buildUri formatAddress " +
    "makeOutputFromInput parseAddress printable",
  ],
  client: [
    client,
    "Body BodyError BodyIter ChunkedBody ChunkedBodyIter Client Connection ConnectionClosedError ConnectionPool ContentRange DeguError EmptyPreambleError ProtocolError Range Response SSLClient TlsError buildClientSslctx publicKey256",
  ],
  server: [
    server,
    "BodyError ConnectionClosedError DeguError EmptyPreambleError ProtocolError Request SSLServer Server Session TlsError buildServerSslctx publicKey256",
  ],
  files: [
    files,
    "BodyError ConnectionClosedError DeguError EmptyPreambleError FilesApp ProtocolError TlsError TransferError deleteFile download downloadTree escapeName fileUri isTransient listDirectory listTree makeDirectory remoteDigest retry unescapeName upload uploadTree",
  ],
  device: [
    device,
    "BodyError ConnectionClosedError DeguError Device DeviceError DeviceServer EmptyPreambleError Invitation PairingError ProtocolError TlsError createDevicePki peerId peerOf perPeer",
  ],
  pool: [
    pool,
    "DeguError ServerPool",
  ],
  misc: [
    misc,
    "BodyError ConnectionClosedError ContentRange DeguError EmptyPreambleError ProtocolError Range TempDevices TempPKI TempSSLServer TempServer TlsError callApp formatChunk formatHeaders formatRequest formatResponse mkreq mkuri parseChunkHeader parseContentRange parseHeaders parseRange parseRequest parseResponse parseUri",
  ],
};

for (const [name, [entry, names]] of Object.entries(entries)) {
  Deno.test(`@degu/degu/${name} exports exactly what it promises`, () => {
    assertEquals(Object.keys(entry).toSorted().join(" "), names);
  });
}

Deno.test("@degu/degu exports base, client and server, what apps are made of, and the bridge to fetch", () => {
  const own =
    "AllowedMethods Latest MethodFilter ProxyApp Router Validator accessLog createFetch " +
    "fromFetchHandler isTransient json repeat reply retry terminationSignal toFetchHandler wrapApp";
  const names = [...Object.keys({ ...base, ...client, ...server }), ...own.split(" ")];
  assertEquals(Object.keys(all).toSorted(), names.toSorted());
});

type AllTrue<Checks extends readonly true[]> = Checks;

/** What apps and their authors see. */
export type OfBase = AllTrue<[
  IsExact<base.Method, "GET" | "HEAD" | "DELETE" | "PUT" | "POST">,
  IsExact<
    base.HeaderDict,
    Record<string, string | number | base.Range | base.ContentRange | undefined>
  >,
  IsExact<base.ReceivedHeaders["content-length"], number | undefined>,
  IsExact<base.ReceivedHeaders["range"], base.Range | undefined>,
  IsExact<base.ReceivedHeaders["content-range"], base.ContentRange | undefined>,
  IsExact<base.ReceivedHeaders["x-none"], string | undefined>,
  IsExact<base.BodyIn, null | base.Body | base.ChunkedBody>,
  IsExact<base.BodyOut, base.BodyIn | string | Uint8Array | base.BodyIter | base.ChunkedBodyIter>,
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
    base.ResponseTuple,
    readonly [status: number, reason: string, headers: base.HeaderDict, body: base.BodyOut]
  >,
]>;

export type OfClient = AllTrue<[
  IsExact<client.ClientOptions["timeout"], number | null | undefined>,
  IsExact<client.ClientOptions["signal"], AbortSignal | undefined>,
  IsExact<client.Client["address"], base.Address>,
  IsExact<client.Client["host"], string | null>,
  IsExact<client.Client["timeout"], number | null>,
  IsExact<ReturnType<client.Client["request"]>, Promise<client.Response>>,
  IsExact<ReturnType<client.Client["connect"]>, Promise<client.Connection>>,
  IsExact<Parameters<client.Client["request"]>[0], base.Method>,
  IsExact<client.SSLClient["sslHost"], string | null>,
  IsExact<client.Response["body"], base.BodyIn>,
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

/** What apps are made of other apps with. */
export type OfApps = AllTrue<[
  IsExact<
    all.AppMap,
    ReadonlyMap<string | null, server.App | all.AppMap | all.AppEntries | all.AppRecord>
  >,
  IsExact<ConstructorParameters<typeof all.Validator>, [app: server.App]>,
  IsExact<
    ConstructorParameters<typeof all.Router>,
    [appmap: all.AppMap | all.AppEntries | all.AppRecord]
  >,
]>;

/** Received headers can be sent on, and a header that may be missing is `undefined` in types, too. */
export function forward({ headers }: server.Request): base.HeaderDict[] {
  // @ts-expect-error: a header may be missing
  headers["x-none"].toString();
  // @ts-expect-error: received headers stay as they are
  headers["x-new"] = "a";
  return [headers, { ...headers, via: "a", "x-none": undefined }];
}

/**
 * A router of apps and of what is below them needs no annotation, and each app knows its arguments.
 */
export function routes(app: server.App): all.Router[] {
  return [
    new all.Router([["a", app], ["b", [[null, app], ["c", (request) => [
      200,
      request.method,
      {},
      null,
    ]]]], ["d", new Map([["e", app]])]]),
    new all.Router([]),
    new all.Router(new Map([["a", app]])),
    // @ts-expect-error: a number is no app
    new all.Router([["a", 5]]),
    // @ts-expect-error: a number is no key
    new all.Router([[5, app]]),
    // @ts-expect-error: an app alone is no entry
    new all.Router([app]),
  ];
}

/** The answer of a validator can be indexed and destructured. */
export async function validated(
  validator: all.Validator,
  ...asked: Parameters<all.Validator["handle"]>
): Promise<[number, string, base.HeaderDict, base.BodyOut]> {
  const answer = await validator.handle(...asked);
  const [status, , headers] = answer;
  return [status, answer[1], headers, answer[3]];
}

/** A connection's wrapper, as the original's documents show it. */
class WrappedConnection {
  readonly conn: client.Connection;
  constructor(conn: client.Connection) {
    this.conn = conn;
  }
  get closed(): boolean {
    return this.conn.closed;
  }
  close(): void {
    this.conn.close();
  }
  request(
    method: base.Method,
    uri: string,
    headers: base.HeaderDict,
    body: base.BodyOut,
  ): Promise<client.Response> {
    return this.conn.request(method, uri, headers, body);
  }
}

/** Whatever makes requests, or connections, has its type by its shape. */
export function wrappers(given: client.Client): unknown[] {
  const connector = { connect: async () => new WrappedConnection(await given.connect()) };
  const requester: client.Requester = {
    request: (method, uri, headers = {}, body = null) => given.request(method, uri, headers, body),
  };
  return [
    new all.ProxyApp(connector),
    new all.ProxyApp(requester),
    all.createFetch(connector),
    all.createFetch(requester),
    connector.connect().then((conn) => all.createFetch(conn)),
    files.download(connector, "/a", "/tmp/a"),
    files.uploadTree(requester, "/tmp/a", "/"),
    given.connect({ signal: new AbortController().signal, bodies: base.bodies }),
    given.connect(base.bodies, { signal: new AbortController().signal }),
    given.connect(undefined, {}),
    files.downloadTree(given, ["photos"], new URL("file:///tmp/photos")),
    files.upload(given, new URL("file:///tmp/a"), ["photos", "a"] as const),
    // @ts-expect-error: the directory and the names are swapped
    files.downloadTree(given, "/tmp/photos", ["photos"]),
    // @ts-expect-error: a URL is no URI
    files.download(given, new URL("file:///tmp/a"), "/a"),
    // @ts-expect-error: it makes neither requests nor connections
    all.createFetch({ fetch }),
    // @ts-expect-error: a wrapper that can't be closed
    new all.ProxyApp({ connect: () => Promise.resolve(requester) }),
  ];
}

/** Classes of bodies have the members of those of this package, and need no more. */
class CountedBody implements Pick<base.Body, keyof base.Body> {
  readonly inner: base.Body;
  readonly chunked = false;
  readonly contentLength: number;
  constructor(source: base.BodyInput, contentLength: number) {
    this.inner = new base.Body(source, contentLength);
    this.contentLength = contentLength;
  }
  get used() {
    return this.inner.used;
  }
  get readable() {
    return this.inner.readable;
  }
  read = (size?: number) => this.inner.read(size);
  bytes: base.Body["bytes"] = (options) => this.inner.bytes(options);
  text: base.Body["text"] = (options) => this.inner.text(options);
  json: base.Body["json"] = (options) => this.inner.json(options);
  writeTo: base.Body["writeTo"] = (sink) => this.inner.writeTo(sink);
  cancel = (reason?: unknown) => this.inner.cancel(reason);
  [Symbol.asyncIterator] = () => this.inner[Symbol.asyncIterator]();
  [Symbol.asyncDispose] = () => this.inner[Symbol.asyncDispose]();
}

export function counted(address: base.Address, sock: client.Socket): unknown[] {
  const bodies = { ...base.bodies, Body: CountedBody };
  return [
    new client.Client(address, { bodies }),
    new client.Client(address).connect(bodies),
    new client.Connection(sock, null, bodies),
    // @ts-expect-error: a class without the members
    new client.Client(address, { bodies: { ...base.bodies, Body: Blob } }),
  ];
}

/** Another machine reaches a device at an address and a port, and at no Unix socket. */
export function invitations(
  host: base.HostAddress,
  scoped: base.ScopedAddress,
  any: base.Address,
): device.InviteOptions[] {
  return [
    { listen: [host, scoped, ["127.0.0.1", 0]], serving: [host, scoped, ["fe80::1", 80, 0, 2]] },
    // @ts-expect-error: a Unix socket
    { listen: ["/run/a.socket"] },
    // @ts-expect-error: a Unix socket
    { serving: ["/run/a.socket"] },
    // @ts-expect-error: an abstract name
    { listen: [new Uint8Array([0, 97])] },
    // @ts-expect-error: an abstract name
    { serving: [new Uint8Array([0, 97])] },
    // @ts-expect-error: it may be one of them
    { listen: [any] },
    // @ts-expect-error: it may be one of them
    { serving: [any] },
  ];
}

/** Each code of an error of devices has its case, and none is forgotten. */
export function advice({ code }: device.PairingError, other: device.DeviceError): string[] {
  const of = (): string => {
    switch (code) {
      case "NOT_A_LINE":
      case "GARBLED":
        return "copy the line again";
      case "OLDER":
      case "NEWER":
        return "update";
      case "EXPIRED":
      case "NOT_OPEN":
      case "ANSWER_LOST":
        return "invite again";
      case "OWN":
      case "NAME_TAKEN":
        return "choose another";
      case "UNREACHABLE":
      case "BUSY":
      case "NOT_CONFIRMED":
        return "try again";
      case "REFUSED":
      case "BAD_ANSWER":
        return "see the log";
    }
  };
  switch (other.code) {
    case "FORGOTTEN":
    case "NO_ADDRESS":
    case "UNREACHABLE":
    case "CLOSED":
      return [of(), other.code];
      // @ts-expect-error: no such code
    case "LOST":
      return [];
  }
}

/** Paths that are always there are strings, whatever they are needed for. */
export async function paths(clientPki: boolean): Promise<string[]> {
  const both = await misc.TempPKI.create();
  const named: misc.TempClientPKI = await misc.TempPKI.create({ clientPki: true, names: ["a"] });
  const anonymous = await misc.TempPKI.create({ clientPki: false });
  const either: misc.TempPKI = await misc.TempPKI.create({ clientPki });
  // @ts-expect-error: there is no certificate of a client
  const missing: string = anonymous.clientSslconfig.certFile;
  // @ts-expect-error: there may be none
  const absent: string = either.serverSslconfig.caFile;
  const { certFile, keyFile } = named.clientSslconfig;
  return [
    ...[
      missing,
      absent,
      certFile,
      keyFile,
      both.serverSslconfig.caFile,
      named.clientSslconfig.caFile,
    ],
    ...[anonymous.anonymousServerSslconfig.certFile, either.serverSslconfig.keyFile],
  ];
}

export type OfWeb = AllTrue<[
  IsExact<ReturnType<typeof all.createFetch>, typeof fetch>,
  IsExact<Parameters<typeof all.createFetch>, [client: client.Requester | client.Connector]>,
  IsExact<ReturnType<typeof all.fromFetchHandler>, server.AppFunction>,
  IsExact<
    ReturnType<typeof all.toFetchHandler>,
    (
      request: Request,
      info?: { readonly remoteAddr?: Deno.Addr | undefined },
    ) => Promise<Response>
  >,
]>;

export type OfPool = AllTrue<[
  IsExact<keyof pool.PoolExport, "module" | "name">,
  IsExact<keyof pool.PoolApp, "module" | "name" | "args">,
  IsExact<
    typeof pool.ServerPool.start,
    (
      address: base.Address,
      app: pool.PoolApp,
      options?: pool.PoolOptions,
    ) => Promise<pool.ServerPool>
  >,
  IsExact<pool.ServerPool["address"], base.Address>,
  IsExact<pool.ServerPool["workers"], number>,
  IsExact<pool.ServerPool["setSslctx"], (config: server.ServerSslconfig) => Promise<void>>,
  IsExact<pool.ServerPool["shutdown"], () => Promise<void>>,
  IsExact<pool.ServerPool["close"], () => Promise<void>>,
]>;

export type OfTools = AllTrue<[
  IsExact<
    typeof device.createDevicePki,
    (dir: string, name: string, options?: device.DevicePkiOptions) => Promise<device.DevicePki>
  >,
  IsExact<device.PairingError["code"], device.PairingErrorCode>,
  IsExact<device.PairingError["peerName"], string | null>,
  IsExact<device.DeviceError["code"], device.DeviceErrorCode>,
  IsExact<ReturnType<typeof misc.TempServer.start>, Promise<misc.TempServer>>,
  IsExact<ReturnType<typeof misc.TempSSLServer.start>, Promise<misc.TempSSLServer>>,
  IsExact<typeof misc.formatChunk, (chunk: base.Chunk) => Uint8Array>,
  IsExact<typeof misc.parseUri, (uri: string) => misc.UriParts>,
  IsExact<typeof misc.parseRange, (value: string) => base.Range>,
]>;
