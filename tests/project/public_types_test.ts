/** The public API: this test fails after any change of a name or a type. */
import { assertEquals } from "@std/assert";
import type { IsExact } from "@std/testing/types";
import * as base from "@degu/degu/base";
import * as certificates from "@degu/degu/certificates";
import * as client from "@degu/degu/client";
import * as device from "@degu/device";
import * as devices from "@degu/device/testing";
import * as files from "@degu/files";
import * as filesBase from "@degu/files/base";
import * as filesClient from "@degu/files/client";
import * as misc from "@degu/degu/misc";
import * as server from "@degu/degu/server";
import * as all from "@degu/degu";

const entries: Record<string, [entry: object, names: string]> = {
  "@degu/degu/base": [
    base,
    "Body BodyError BodyIter ChunkedBody ChunkedBodyIter ChunkedDecoderStream ChunkedEncoderStream " +
    "ConnectionClosedError ContentRange DeguError EmptyPreambleError LengthDecoderStream " +
    "LengthEncoderStream ProtocolError Range Response SuffixRange TlsError UnsatisfiedRange bodies buildUri checkAddress describeArgumentError formatAddress linesOf " +
    "makeLineBody makeOutputFromInput parseAddress parseHost parseHostAddress printable standardLogger",
  ],
  "@degu/degu/certificates": [certificates, "createAuthority createLeaf findAuthorityFormProblem"],
  "@degu/degu/client": [
    client,
    "BodyError Client Connection ConnectionClosedError ConnectionPool EmptyPreambleError ProtocolError Response SSLClient StatusError TlsError buildClientSslctx describeConnectionError expectOk isTimeout isTransient publicKey256 retry",
  ],
  "@degu/degu/server": [
    server,
    "BodyError ConnectionClosedError ProtocolError Request ResponseError SSLServer Server Session TlsError buildServerSslctx publicKey256 serveUntilSignal standardLogger",
  ],
  "@degu/files/base": [filesBase, "TransferError isReservedName"],
  "@degu/files/client": [
    filesClient,
    "StatusError TransferError deleteEntry describeNameProblem download downloadTree fileUri isReservedName listDirectory listTree makeDirectory remoteDigest upload uploadTree",
  ],
  "@degu/files": [
    files,
    "FilesApp StatusError TransferError deleteEntry describeNameProblem download downloadTree fileUri findKeptVersions isReservedName listDirectory listTree makeDirectory remoteDigest removeOldVersions restoreTree upload uploadTree",
  ],
  "@degu/device/testing": [devices, "TempDevices"],
  "@degu/device": [
    device,
    "ConnectionClosedError Device DeviceError PairingError TlsError createDevicePki isDeviceName parseInvitation peerOf perPeer readAuthority",
  ],
  "@degu/degu/misc": [
    misc,
    "ConnectionClosedError ProtocolError TempPKI TempSSLServer TempServer callApp formatChunk formatHeaders formatRequest formatResponse mkSession mkreq parseChunkHeader parseContentRange parseHeaders parseRange parseRequest parseResponse parseUri",
  ],
};

for (const [name, [entry, names]] of Object.entries(entries)) {
  Deno.test(`${name} exports exactly what it promises`, () => {
    assertEquals(Object.keys(entry).toSorted().join(" "), names);
  });
}

Deno.test("@degu/degu has what most programs use of base, client and server", () => {
  const ownNames = "ProxyApp accessLog createFetch fromFetchHandler json repeat reply routes " +
    "WorkerApp runUntilSignal terminationSignal timeLimit wrapApp";
  const names = new Set([
    ...Object.keys({ ...base, ...client, ...server }),
    ...ownNames.split(" "),
  ]);
  const ofBaseAlone = "ChunkedDecoderStream ChunkedEncoderStream LengthDecoderStream " +
    "LengthEncoderStream bodies checkAddress describeArgumentError linesOf makeLineBody " +
    "makeOutputFromInput parseHost parseHostAddress printable";
  assertEquals(new Set(Object.keys(all)), names.difference(new Set(ofBaseAlone.split(" "))));
});

type AllTrue<Checks extends readonly true[]> = Checks;

/** The types that apps use. */
export type OfBase = AllTrue<[
  IsExact<base.Method, "GET" | "HEAD" | "DELETE" | "PUT" | "POST">,
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
    [
      client: client.Requester | client.Connector,
      options?: { anyHost?: boolean | undefined } | undefined,
    ]
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
  IsExact<
    Parameters<typeof all.WorkerApp.start>,
    [source: all.WorkerAppSource, options?: all.WorkerAppOptions | undefined]
  >,
  IsExact<ReturnType<typeof all.WorkerApp.start>, Promise<all.WorkerApp>>,
  IsExact<ReturnType<typeof misc.TempServer.start>, Promise<misc.TempServer>>,
  IsExact<ReturnType<typeof misc.TempSSLServer.start>, Promise<misc.TempSSLServer>>,
  IsExact<typeof misc.formatChunk, (chunk: base.Chunk) => Uint8Array>,
  IsExact<typeof misc.parseUri, (uri: string) => { path: string[]; query: string | null }>,
  IsExact<
    typeof misc.parseRange,
    (value: string) => base.Range | base.SuffixRange | string | null
  >,
]>;
