/** The public interface as its users see it: a name or type that changes fails here first. */
import { assertEquals } from "@std/assert";
import type { AssertTrue, IsExact } from "@std/testing/types";
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
  client: [client, "Client Connection Response SSLClient buildClientSslctx publicKey256"],
  server: [server, "Request SSLServer Server Session buildServerSslctx publicKey256"],
  files: [
    files,
    "FilesApp TransferError deleteFile download downloadTree escapeName fileUri isTransient listDirectory " +
    "listTree makeDirectory remoteDigest retry unescapeName upload uploadTree",
  ],
  device: [device, "Device DeviceServer Invitation createDevicePki peerOf"],
  pool: [pool, "ServerPool"],
  misc: [
    misc,
    "TempPKI TempSSLServer TempServer formatChunk formatHeaders formatRequest " +
    "formatResponse mkreq mkuri parseChunkHeader parseContentRange parseHeaders parseRange " +
    "parseRequest parseResponse parseUri",
  ],
};

for (const [name, [entry, names]] of Object.entries(entries)) {
  Deno.test(`@degu/degu/${name} exports exactly what it promises`, () => {
    assertEquals(Object.keys(entry).toSorted().join(" "), names);
  });
}

Deno.test("@degu/degu exports base, client and server, what apps are made of, and the bridge to fetch", () => {
  const own = "AllowedMethods MethodFilter ProxyApp Router Validator accessLog createFetch " +
    "fromFetchHandler isTransient retry toFetchHandler";
  const names = [...Object.keys({ ...base, ...client, ...server }), ...own.split(" ")];
  assertEquals(Object.keys(all).toSorted(), names.toSorted());
});

/** What apps and their authors see. */
export type OfBase = [
  AssertTrue<IsExact<base.Method, "GET" | "HEAD" | "DELETE" | "PUT" | "POST">>,
  AssertTrue<
    IsExact<base.HeaderDict, Record<string, string | number | base.Range | base.ContentRange>>
  >,
  AssertTrue<IsExact<base.BodyIn, null | base.Body | base.ChunkedBody>>,
  AssertTrue<
    IsExact<base.BodyOut, base.BodyIn | Uint8Array | base.BodyIter | base.ChunkedBodyIter>
  >,
  AssertTrue<IsExact<base.Address, base.HostAddress | base.ScopedAddress | string | Uint8Array>>,
  AssertTrue<IsExact<base.HostAddress, readonly [host: string, port: number]>>,
  AssertTrue<IsExact<Awaited<ReturnType<base.Body["text"]>>, string>>,
  AssertTrue<IsExact<Awaited<ReturnType<base.Body["json"]>>, unknown>>,
  AssertTrue<IsExact<Awaited<ReturnType<base.Body["bytes"]>>, Uint8Array<ArrayBuffer>>>,
  AssertTrue<IsExact<typeof base.parseAddress, (text: string) => base.Address>>,
  AssertTrue<IsExact<typeof base.formatAddress, (address: base.Address) => string>>,
  AssertTrue<IsExact<base.TlsError["code"], base.TlsErrorCode>>,
  AssertTrue<IsExact<base.ProtocolError["code"], base.ProtocolErrorCode>>,
  AssertTrue<
    IsExact<
      base.ResponseTuple,
      readonly [status: number, reason: string, headers: base.HeaderDict, body: base.BodyOut]
    >
  >,
];

export type OfClient = [
  AssertTrue<
    IsExact<
      keyof client.ClientOptions,
      "host" | "timeout" | "bodies" | "authorization" | "headers" | "onConnect" | "signal"
    >
  >,
  AssertTrue<IsExact<keyof client.RequestOptions, "signal">>,
  AssertTrue<IsExact<client.ClientOptions["timeout"], number | null | undefined>>,
  AssertTrue<IsExact<client.ClientOptions["signal"], AbortSignal | undefined>>,
  AssertTrue<IsExact<client.Client["address"], base.Address>>,
  AssertTrue<IsExact<client.Client["host"], string | null>>,
  AssertTrue<IsExact<client.Client["timeout"], number | null>>,
  AssertTrue<IsExact<ReturnType<client.Client["request"]>, Promise<client.Response>>>,
  AssertTrue<IsExact<ReturnType<client.Client["connect"]>, Promise<client.Connection>>>,
  AssertTrue<IsExact<Parameters<client.Client["request"]>[0], base.Method>>,
  AssertTrue<IsExact<client.SSLClient["sslHost"], string | null>>,
  AssertTrue<IsExact<client.Response["body"], base.BodyIn>>,
  AssertTrue<IsExact<typeof client.publicKey256, (pem: string) => string>>,
];

export type OfServer = [
  AssertTrue<
    IsExact<
      keyof server.ServerOptions,
      "maxConnections" | "maxRequests" | "timeout" | "logger" | "onExchange"
    >
  >,
  AssertTrue<IsExact<server.App, server.AppFunction | server.AppObject>>,
  AssertTrue<IsExact<Parameters<server.AppFunction>[0], server.Request>>,
  AssertTrue<IsExact<Parameters<server.AppFunction>[1], server.Session>>,
  AssertTrue<IsExact<Parameters<server.AppFunction>[2], server.Api>>,
  AssertTrue<IsExact<server.Request["method"], base.Method>>,
  AssertTrue<IsExact<server.Request["body"], base.BodyIn>>,
  AssertTrue<IsExact<server.Request["headers"], base.HeaderDict>>,
  AssertTrue<IsExact<server.Session["signal"], AbortSignal>>,
  AssertTrue<IsExact<server.Server["sessions"], ReadonlySet<server.Session>>>,
  AssertTrue<IsExact<server.Server["ready"], Promise<void>>>,
  AssertTrue<IsExact<server.Server["close"], () => void>>,
  AssertTrue<IsExact<server.Server["shutdown"], () => Promise<void>>>,
  AssertTrue<IsExact<server.Server["serveForever"], () => Promise<void>>>,
];

/** Each of these is an app, or makes one. */
export type OfApps = [
  AssertTrue<all.Validator extends server.AppObject ? true : false>,
  AssertTrue<all.Router extends server.AppObject ? true : false>,
  AssertTrue<all.MethodFilter extends server.AppObject ? true : false>,
  AssertTrue<all.ProxyApp extends server.AppObject ? true : false>,
  AssertTrue<files.FilesApp extends server.AppObject ? true : false>,
  AssertTrue<
    IsExact<all.AppMap, ReadonlyMap<string | null, server.App | all.AppMap>>
  >,
  AssertTrue<IsExact<ConstructorParameters<typeof all.Validator>, [app: server.App]>>,
  AssertTrue<IsExact<ConstructorParameters<typeof all.Router>, [appmap: all.AppMap]>>,
];

export type OfWeb = [
  AssertTrue<IsExact<ReturnType<typeof all.createFetch>, typeof fetch>>,
  AssertTrue<
    IsExact<Parameters<typeof all.createFetch>, [client: client.Client | client.Connection]>
  >,
  AssertTrue<IsExact<ReturnType<typeof all.fromFetchHandler>, server.AppFunction>>,
  AssertTrue<
    IsExact<
      ReturnType<typeof all.toFetchHandler>,
      (
        request: Request,
        info?: { readonly remoteAddr?: Deno.Addr | undefined },
      ) => Promise<Response>
    >
  >,
];

export type OfPool = [
  AssertTrue<
    IsExact<
      keyof pool.PoolOptions,
      "workers" | "sslconfig" | "server" | "logger" | "onExchange"
    >
  >,
  AssertTrue<IsExact<keyof pool.PoolExport, "module" | "name">>,
  AssertTrue<IsExact<keyof pool.PoolApp, "module" | "name" | "args">>,
  AssertTrue<
    IsExact<
      typeof pool.ServerPool.start,
      (
        address: base.Address,
        app: pool.PoolApp,
        options?: pool.PoolOptions,
      ) => Promise<pool.ServerPool>
    >
  >,
  AssertTrue<IsExact<pool.ServerPool["address"], base.Address>>,
  AssertTrue<IsExact<pool.ServerPool["workers"], number>>,
  AssertTrue<
    IsExact<pool.ServerPool["setSslctx"], (config: server.ServerSslconfig) => Promise<void>>
  >,
  AssertTrue<IsExact<pool.ServerPool["shutdown"], () => Promise<void>>>,
  AssertTrue<IsExact<pool.ServerPool["close"], () => Promise<void>>>,
];

export type OfTools = [
  AssertTrue<
    IsExact<
      typeof device.createDevicePki,
      (dir: string, name: string, options?: device.DevicePkiOptions) => Promise<device.DevicePki>
    >
  >,
  AssertTrue<
    IsExact<typeof misc.TempPKI.create, (options?: misc.TempPKIOptions) => Promise<misc.TempPKI>>
  >,
  AssertTrue<IsExact<ReturnType<typeof misc.TempServer.start>, Promise<misc.TempServer>>>,
  AssertTrue<IsExact<ReturnType<typeof misc.TempSSLServer.start>, Promise<misc.TempSSLServer>>>,
  AssertTrue<IsExact<typeof misc.formatChunk, (chunk: base.Chunk) => Uint8Array>>,
  AssertTrue<IsExact<typeof misc.parseUri, (uri: string) => misc.UriParts>>,
  AssertTrue<IsExact<typeof misc.parseRange, (value: string) => base.Range>>,
];
