/**
 * The errors that the doc comments of public names mention: each class and code happens. The rows
 * make it happen; another mention needs a test that has the name and the error. A `TypeError` and a
 * `RangeError` are errors of arguments, which the tests of each function have.
 */
import {
  type App,
  Body,
  type Client,
  type ClientOptions,
  ConnectionPool,
  expectOk,
  reply,
  Server,
  SSLServer,
} from "@degu/degu";
import { makeOutputFromInput } from "@degu/degu/base";
import { Device, parseInvitation } from "@degu/device";
import {
  deleteEntry,
  download,
  FilesApp,
  listDirectory,
  listTree,
  makeDirectory,
  remoteDigest,
  upload,
  uploadTree,
} from "@degu/files";
import {
  callApp,
  mkreq,
  parseChunkHeader,
  parseContentRange,
  parseHeaders,
  parseRange,
  parseRequest,
  parseResponse,
  parseUri,
} from "@degu/degu/misc";
import { readEntries } from "@degu/internal/tools/packages.ts";
import { connect } from "@degu/testing/connected.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { type DocNode, readDoc } from "@degu/testing/doc_nodes.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { serveFiles } from "@degu/testing/transferring.ts";
import { listFiles, readProjectFile } from "@degu/testing/tree.ts";
import { assert, assertEquals } from "@std/assert";

/** A public name and an error: `Client.connect: ConnectionClosedError`, `BodyError.code: TOO_LONG`. */
type Mention = string;

const bytes = (text: string) => new TextEncoder().encode(text);
const textBody = (text: string) => new Body(new Blob([text]).stream(), text.length);

/** Makes a request that the server answers by these bytes and a close; also reads the body. */
async function receive(response: string) {
  using pair = await connect();
  const reading = pair.conn.get("/").then((response) => response.text());
  await pair.peer.readPreamble();
  await pair.peer.send(response);
  pair.peer.close();
  return await reading;
}

/** Sends requests over a connection whose first response is this one. */
async function requestAfter(response: string) {
  using pair = await connect();
  await pair.answer(response);
  return await pair.conn.get("/");
}

// Each of these functions returns a function that calls the given one.

function withClient(call: (client: Client) => Promise<unknown>, options: ClientOptions = {}) {
  return async () => {
    await using serving = serve(() => reply(200, "not JSON"));
    return await call(serving.makeClient(options));
  };
}

const withRefusal = (call: (client: Client) => Promise<unknown>) =>
  withClient(call, { onConnect: () => false });

const withClosedPool = (call: (pool: ConnectionPool) => Promise<unknown>) =>
  withClient(async (client) => {
    const pool = new ConnectionPool(client);
    await pool.close();
    await call(pool);
  });

/** The call gets a client and its directory, which has another file `a` than the server. */
function withFiles(call: (client: Client, dir: string) => Promise<unknown>) {
  return async () => {
    await using files = await serveFiles((dir) => new FilesApp(dir, { list: true, write: true }));
    await Deno.writeTextFile(`${files.serverDir}/a`, "one");
    await Deno.writeTextFile(`${files.clientDir}/a`, "two");
    return await call(files.client, files.clientDir);
  };
}

function withDirectory(call: (path: string) => unknown) {
  return async () => {
    await using dir = await createTempDir();
    return await call(dir.path);
  };
}

const withDevice = (call: (device: Device) => Promise<unknown>) =>
  withDirectory(async (path) => {
    await using device = await Device.open(path, { name: "camera" });
    await call(device);
  });

const CLOSED = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const UNREAD = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

const ROWS: readonly [Mention, () => unknown][] = [
  ["Body: ProtocolError", () => receive("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")],
  ["Body: BodyError", async () => {
    const body = textBody("a");
    await body.text();
    await body.text();
  }],
  ["BodyError.code: TOO_LONG", () => textBody("ab").bytes({ maxBytes: 1 })],
  ["ReadableBody.bytes: TOO_LONG", () => textBody("ab").bytes({ maxBytes: 1 })],
  ["ReadableBody.bytes: BodyError", () => textBody("ab").bytes({ maxBytes: 1 })],
  ["ReadableBody.json: SyntaxError", () => textBody("a").json()],
  ["Request.json: SyntaxError", () => mkreq("PUT", "/", {}, "a").json()],
  ["Response.json: SyntaxError", withClient(async (client) => (await client.get("/")).json())],
  ["makeOutputFromInput: BodyError", async () => {
    const body = textBody("a");
    await body.text();
    makeOutputFromInput(body);
  }],
  ["Client.connect: REFUSED", withRefusal((client) => client.connect())],
  ["Client.connect: ConnectionClosedError", withRefusal((client) => client.connect())],
  ["ConnectionClosedError.code: REFUSED", withRefusal((client) => client.request("GET", "/"))],
  ["ConnectionClosedError.code: CLOSED", () => requestAfter(CLOSED)],
  ["Connection.request: ConnectionClosedError", () => requestAfter(CLOSED)],
  ["Connection.request: BodyError", () => requestAfter(UNREAD)],
  ["Connection.request: ProtocolError", () => receive("nonsense\r\n\r\n")],
  ["Connection.request: EmptyPreambleError", () => receive("")],
  ["describeConnectionError: ConnectionClosedError", () => requestAfter(CLOSED)],
  ["describeConnectionError: PREAMBLE_INCOMPLETE", () => receive("HTTP/1.1 200")],
  [
    "describeConnectionError: BODY_INCOMPLETE",
    () => receive("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"),
  ],
  [
    "ConnectionPool.request: ConnectionClosedError",
    withClosedPool((pool) => pool.request("GET", "/")),
  ],
  ["ConnectionPool.peer: ConnectionClosedError", withClosedPool((pool) => pool.peer())],
  ["Server.constructor: Deno.errors.AddrInUse", async () => {
    await using serving = serve(() => reply(204));
    new Server(serving.address, () => reply(204));
  }],
  ["Session.close: ConnectionClosedError", async () => {
    const { promise: reason, resolve } = Promise.withResolvers<unknown>();
    await using serving = serve((_request, session) => {
      session.signal.addEventListener("abort", () => resolve(session.signal.reason));
      session.close();
      return reply(204);
    });
    await serving.makeClient().request("GET", "/").catch(() => {});
    throw await reason;
  }],
  ["Session.checkTrusted: ResponseError", async () => {
    let check: Promise<void> | undefined;
    const app: App = (_request, session) => {
      check = session.checkTrusted();
      return reply(204);
    };
    await callApp(app, mkreq("GET", "/"), { session: { isTrusted: () => false } });
    await check;
  }],
  ["expectOk: StatusError", withFiles((client) => expectOk(client.request("GET", "/none")))],
  [
    "buildServerSslctx: Deno.errors.NotFound",
    () =>
      new SSLServer(
        { certFile: "/tmp/degu-none", keyFile: "/tmp/degu-none", ca: [] },
        ["127.0.0.1", 0],
        () => reply(204),
      ),
  ],
  [
    "TransferOptions.replace: EXISTS",
    withFiles((client, dir) => upload(client, `${dir}/a`, ["a"], { replace: false })),
  ],
  [
    "TransferOptions.replace: TransferError",
    withFiles((client, dir) => download(client, ["a"], `${dir}/a`, { replace: false })),
  ],
  ["download: StatusError", withFiles((client, dir) => download(client, ["none"], `${dir}/b`))],
  [
    "download: Deno.errors.NotFound",
    withFiles((client, dir) => download(client, ["a"], `${dir}/none/b`)),
  ],
  [
    "download: TransferError",
    withFiles((client, dir) => download(client, ["a"], `${dir}/a`, { replace: false })),
  ],
  [
    "upload: Deno.errors.NotFound",
    withFiles((client, dir) => upload(client, `${dir}/none`, ["b"])),
  ],
  ["upload: Deno.errors.IsADirectory", withFiles((client, dir) => upload(client, dir, ["b"]))],
  [
    "uploadTree: Deno.errors.NotFound",
    withFiles((client, dir) => uploadTree(client, `${dir}/none`, [])),
  ],
  [
    "uploadTree: Deno.errors.NotADirectory",
    withFiles((client, dir) => uploadTree(client, `${dir}/a`, [])),
  ],
  [
    "listDirectory: StatusError",
    withFiles((client) => Array.fromAsync(listDirectory(client, ["none"]))),
  ],
  ["listTree: StatusError", withFiles((client) => Array.fromAsync(listTree(client, ["none"])))],
  ["remoteDigest: StatusError", withFiles((client) => remoteDigest(client, ["none"]))],
  ["deleteEntry: StatusError", withFiles((client) => deleteEntry(client, ["none"]))],
  ["makeDirectory: TransferError", withFiles((client) => makeDirectory(client, ["a"]))],
  [
    "FilesApp.constructor: Deno.errors.NotFound",
    withDirectory((path) => new FilesApp(`${path}/none`)),
  ],
  [
    "FilesApp.constructor: Deno.errors.NotADirectory",
    withDirectory(async (path) => {
      await Deno.writeTextFile(`${path}/a`, "");
      new FilesApp(`${path}/a`);
    }),
  ],
  [
    "Device.open: Deno.errors.NotFound",
    withDirectory((path) => Device.open(`${path}/none`, { create: false })),
  ],
  ["Device.rename: DeviceError", withDevice((device) => device.rename("viewer", "desk"))],
  ["Device.forget: DeviceError", withDevice((device) => device.forget("viewer"))],
  ["DeviceErrorCode: UNKNOWN", withDevice((device) => device.client("viewer"))],
  [
    "DeviceErrorCode: CLOSED",
    withDevice(async (device) => {
      await device[Symbol.asyncDispose]();
      await device.invite({ listen: [["127.0.0.1", 0]] });
    }),
  ],
  [
    "Invitation.paired: ConnectionClosedError",
    withDevice(async (device) => {
      const invitation = await device.invite({ listen: [["127.0.0.1", 0]] });
      await invitation.close();
      await invitation.paired;
    }),
  ],
  ["parseInvitation: NOT_A_LINE", () => parseInvitation("nonsense")],
  ["parseUri: ProtocolError", () => parseUri("/a//b")],
  ["parseHeaders: ProtocolError", () => parseHeaders(bytes("a"))],
  ["parseRequest: ProtocolError", () => parseRequest(bytes("a"))],
  ["parseResponse: ProtocolError", () => parseResponse("GET", bytes("a"))],
  ["parseRange: ProtocolError", () => parseRange("a")],
  ["parseContentRange: ProtocolError", () => parseContentRange("a")],
  ["parseChunkHeader: ProtocolError", () => parseChunkHeader(bytes("a b"))],
];

/** Mentions whose tests don't have the name, or the error, as text. */
const EXCEPTIONS: readonly Mention[] = [
  "NextApp: ResponseError", // response_error_test.ts: next() resolves to its response
  "downloadTree: Deno.errors.NotCapable", // permissions_test.ts
  "parseInvitation: OTHER_VERSION", // device/tests/errors_test.ts, by join
  "terminationSignal: TERMINATED", // termination_test.ts, in a process
];

Deno.test("each error that a row names happens, and a doc comment names it", async (t) => {
  const mentions = new Set(await readMentions());
  await testEachRow(t, ROWS, async (mention, call) => {
    assert(mentions.has(mention), `no doc comment of a public name has ${mention}`);
    const error = await catchRejection((async () => await call())(), mention);
    const [, expected] = mention.split(": ");
    assert(namesOf(error).includes(`${expected}`), Deno.inspect(error));
  });
});

Deno.test("each error that a doc comment names is in a test of the name", async () => {
  const tests = await readTests();
  const inRows = new Set(ROWS.map(([mention]) => mention));
  const untested = (await readMentions()).filter((mention) => {
    if (inRows.has(mention)) return false;
    const [name = "", error = ""] = mention.split(": ");
    // A list of codes, or a field of an error, isn't the name of a call.
    const isOfError = /Error(?:Code)?$|^[A-Z]\w*Error\./.test(name);
    const called = isOfError
      ? ""
      : name.split(".").at(-1)!.replace(/^constructor$/, name.split(".")[0]!);
    return !tests.some((text) => text.includes(error) && text.includes(called));
  });
  assertEquals(untested, EXCEPTIONS);
});

/** Returns the names by which a comment may name an error. */
function namesOf(error: unknown): string[] {
  const names: string[] = [];
  for (let object: unknown = error; object instanceof Error;) {
    names.push(object.constructor.name, `Deno.errors.${object.constructor.name}`);
    object = Object.getPrototypeOf(object);
  }
  return [...names, `${(error as { code?: unknown }).code}`];
}

async function readTests(): Promise<string[]> {
  const folders = ["tests", "device/tests", "files/tests"];
  const listed = await Promise.all(folders.map((folder) => listFiles(folder, ".ts")));
  const paths = listed.flat().filter((path) => !path.includes("documented_errors"));
  return await Promise.all(paths.map(readProjectFile));
}

let mentionsPromise: Promise<Mention[]> | null = null;

/** Reads the classes and codes of errors in the doc comments of all public names. */
function readMentions(): Promise<Mention[]> {
  return mentionsPromise ??= (async () => {
    const mentions = new Set<Mention>();
    const add = (name: string, { jsDoc, accessibility, def }: DocNode) => {
      const tags = jsDoc?.tags ?? [];
      if (accessibility === "private" || tags.some(({ kind }) => kind === "internal")) return;
      const parts = tags.map(({ tsType, doc }) => `${tsType?.repr ?? ""} ${doc ?? ""}`);
      const text = [jsDoc?.doc, ...parts].join("\n").replaceAll(/```[^]*?```/g, "");
      const pattern = /Deno\.errors\.\w+|\b[A-Z]\w*Error\b|(?<=`")[A-Z][A-Z_]+(?="`)/g;
      for (const [error] of text.matchAll(pattern)) {
        if (error !== "TypeError" && error !== "RangeError") mentions.add(`${name}: ${error}`);
      }
      for (const node of def?.["constructors"] ?? []) add(`${name}.constructor`, node);
      for (const node of [...def?.["methods"] ?? [], ...def?.["properties"] ?? []]) {
        add(`${name}.${node.name}`, node);
      }
    };
    for (const path of (await readEntries()).values()) {
      for (const { name, declarations } of (await readDoc(path)).symbols) {
        for (const node of declarations) add(name, node);
      }
    }
    return [...mentions].toSorted();
  })();
}
