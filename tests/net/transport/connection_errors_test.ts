/** The errors of connections, and of requests that a connection ends. */
import { toConnectionError } from "@degu/internal/net/transport/connection_errors.ts";
import { Client, isTimeout, isTransient, SSLClient, TlsError } from "@degu/degu/client";
import {
  type Address,
  ConnectionClosedError,
  ConnectionError,
  EmptyPreambleError,
  ProtocolError,
} from "@degu/degu/base";
import { ConnectionPool, createFetch, expectOk, reply, Server } from "@degu/degu";
import { connect, type ConnectedClient } from "../client/connected.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { findNetworkObstacle, THROUGH_NAMESPACE } from "@degu/testing/namespaces.ts";
import { runProgram } from "@degu/testing/processes.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { createServer } from "node:net";
import {
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import {
  type FailedRequest,
  makeRequestError,
  noResponseError,
} from "@degu/internal/net/client/client_errors.ts";
import { setErrorFlag } from "@degu/internal/internal/error_details.ts";

type Description = Pick<
  ConnectionError,
  | "fault"
  | "address"
  | "isConnecting"
  | "silentSeconds"
  | "unreadSeconds"
  | "missingBytes"
>;

function describe(error: unknown): Description {
  assertInstanceOf(error, ConnectionError, Deno.inspect(error));
  const { fault, address, isConnecting, silentSeconds, unreadSeconds, missingBytes } = error;
  return { fault, address, isConnecting, silentSeconds, unreadSeconds, missingBytes };
}

/** Returns the description of an established connection, except for the given fields. */
function makeDescription(
  fault: Description["fault"],
  fields: Partial<Description> = {},
): Description {
  return {
    fault,
    address: null,
    isConnecting: false,
    silentSeconds: null,
    unreadSeconds: null,
    missingBytes: null,
    ...fields,
  };
}

/** Returns an address without a listener. */
function findFreeAddress(): readonly [host: string, port: number] {
  using server = new RawServer();
  return server.address as readonly [string, number];
}

/** Makes a GET request fail: the server sends these bytes and ends. */
async function failAfter(
  bytes: string,
  read: "preamble" | "body" = "preamble",
): Promise<unknown> {
  using pair = await connect();
  const error = catchRejection(
    (async () => {
      const response = await pair.conn.get("/");
      if (read === "body") await response.bytes();
    })(),
    "a request whose answer breaks off",
  );
  await pair.peer.respond(bytes);
  pair.peer.close();
  return await error;
}

/** Makes a GET request fail: the server resets the connection. */
async function failByReset(): Promise<unknown> {
  const server = createServer((socket) => socket.once("data", () => socket.resetAndDestroy()));
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", listening.resolve);
  await listening.promise;
  try {
    const { port } = server.address() as { port: number };
    return await catchRejection(new Client(["127.0.0.1", port]).request("GET", "/"), "the call");
  } finally {
    server.close();
  }
}

/** Makes a handshake fail by the behavior of a server. */
async function failHandshake(
  options: { timeout?: number },
  act: (server: RawServer) => Promise<unknown>,
): Promise<[error: unknown, address: Address]> {
  using server = new RawServer();
  const client = new SSLClient((await openSharedPki()).clientSslconfig, server.address, options);
  const error = catchRejection(client.connect(), "a handshake");
  await act(server);
  return [await error, server.address];
}

const RESPONSE = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";

type Row = [name: string, fail: () => Promise<unknown>, expected: Description];

Deno.test("each fault of a connection has its fields, and is transient", async (t) => {
  const closed = findFreeAddress();
  await using dir = await createTempDir();
  const path = `${dir.path}/socket`;
  using _socket = Deno.listen({ transport: "unix", path: `${path}2` });
  const refused = { address: closed, isConnecting: true };
  const rows: Row[] = [
    [
      "no listener",
      () => catchRejection(new Client(closed).connect(), "the call"),
      makeDescription("refused", refused),
    ],
    ["an end instead of a response", () => failAfter(""), makeDescription("broken")],
    ["a reset instead of a response", failByReset, makeDescription("reset")],
    ["an end within a preamble", () => failAfter("HTTP/1.1 2"), makeDescription("broken")],
    [
      "an end within a body",
      () => failAfter(RESPONSE, "body"),
      makeDescription("broken", { missingBytes: 7 }),
    ],
    [
      "a client that times out",
      async () => {
        using pair = await connect({ timeout: 0.02 });
        return await catchRejection(pair.conn.get("/"), "the call");
      },
      makeDescription("timed out", { silentSeconds: 0.02 }),
    ],
    [
      "a server that doesn't read",
      async () => {
        using pair = await connect({ timeout: 0.2 }, `${path}3`);
        const body = new Uint8Array(16 * 1024 * 1024);
        return await catchRejection(pair.conn.put("/", {}, body), "the call");
      },
      makeDescription("timed out", { unreadSeconds: 0.2 }),
    ],
    [
      "a name that can't be resolved",
      () => catchRejection(new Client(["name.invalid", 80]).connect(), "the call"),
      makeDescription("unknown name", { address: ["name.invalid", 80], isConnecting: true }),
    ],
    [
      "an interface that doesn't exist",
      () => catchRejection(new Client(["fe80::1%nowhere", 80]).connect(), "the call"),
      makeDescription("unknown interface", {
        address: ["fe80::1%nowhere", 80],
        isConnecting: true,
      }),
    ],
  ];
  await testEachRow(t, rows, async (_name, fail, expected) => {
    const error = await fail();
    assertEquals(describe(error), expected);
    assertEquals([isTransient(error), isTimeout(error)], [true, expected.fault === "timed out"]);
  });
});

Deno.test("the error of a handshake that ends, or times out, has the address", async () => {
  const endHandshake = async (server: RawServer) => {
    const peer = await server.accept();
    await peer.readExactly(1);
    await peer.closeWrite();
    await peer.readToEnd();
  };
  const [endError, address] = await failHandshake({}, endHandshake);
  assertInstanceOf(endError, TlsError);
  assertEquals([endError.code, endError.address, isTransient(endError)], ["CLOSED", address, true]);
  assertEquals(describe(endError), makeDescription("broken", { address }));

  const accept = (server: RawServer) => server.accept();
  const [silent, silentAddress] = await failHandshake({ timeout: 0.05 }, accept);
  assertEquals(
    describe(silent),
    makeDescription("timed out", { address: silentAddress, silentSeconds: 0.05 }),
  );
});

Deno.test("isTimeout is true for a time limit of the client, of a peer and of a signal, and for nothing else", async (t) => {
  await using silent = await Server.start(["127.0.0.1", 0], () => new Promise(() => {}));
  await using streaming = serve(() => [200, "OK", {}, new ReadableStream()]);
  const hasty = new Client(silent.address, { timeout: 0.05 });
  const patient = new Client(silent.address);
  const soon = () => ({ signal: AbortSignal.timeout(50) });
  using silentListener = new RawServer();
  const { address } = silentListener;
  // The error of a peer whose client tries several addresses.
  const lateError = new ConnectionError("late", { fault: "timed out" });
  const peer = new Client(["camera.invalid", 80], { dial: () => Promise.reject(lateError) });
  const pool = new ConnectionPool(streaming.makeClient({ timeout: 0.05 }), { maxConnections: 1 });
  const held = await pool.get("/");
  const timeouts: Record<string, () => Promise<unknown>> = {
    "a client": () => hasty.get("/"),
    "a signal": () => patient.get("/", {}, soon()),
    "a handshake": () => new SSLClient({}, address, { timeout: 0.05 }).connect(),
    "a body": async () => await (await streaming.makeClient({ timeout: 0.05 }).get("/")).bytes(),
    "a pool": () => pool.get("/"),
    "a peer": () => peer.get("/"),
    "the cause of a fetch": async () => {
      const error = await catchRejection(createFetch(hasty)("/"), "a fetch");
      throw (error as TypeError).cause;
    },
    "a fetch with a signal": () => createFetch(patient)("/", soon()),
  };
  for (const [name, call] of Object.entries(timeouts)) {
    await t.step(name, async () => {
      assertEquals(isTimeout(await catchRejection(call(), name)), true);
    });
  }
  await held.discard();
  await pool.close();
  const own = new AbortController();
  const aborted = patient.get("/", {}, { signal: own.signal });
  own.abort();
  await using late = serve(() => reply(504));
  const others = [
    await catchRejection(aborted, "an abort"),
    await catchRejection(expectOk(late.makeClient().get("/")), "a status of 504"),
    await catchRejection(new Client(findFreeAddress()).connect(), "a refused connection"),
    AbortSignal.abort().reason,
    new Error("timeout"),
    Object.assign(new Error(), { name: "TimeoutError" }),
    ...[null, undefined, "timed out", 408, {}],
  ];
  for (const error of others) assertEquals(isTimeout(error), false, Deno.inspect(error));
});

Deno.test("the error of a socket is described by its class or its code, and the same error of a disk is not", () => {
  const { TimedOut, NetworkUnreachable, AddrNotAvailable, ConnectionRefused } = Deno.errors;
  const socketError = (error: unknown) => toConnectionError(error);
  const makeCodedErrors = (...names: string[]) =>
    names.map((code) => Object.assign(new Error(), { code }));
  const rows: readonly (readonly [Description["fault"] | null, readonly unknown[]])[] = [
    [null, [new TimedOut(), ...makeCodedErrors("EHOSTDOWN")]],
    ["refused", [new ConnectionRefused()].map(socketError)],
    ["timed out", [new TimedOut()].map(socketError)],
    ["unreachable", [new NetworkUnreachable(), new AddrNotAvailable()].map(socketError)],
    ["unreachable", makeCodedErrors("EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN").map(socketError)],
    [null, [new Error(), ...makeCodedErrors("EACCES"), "text", null].map(socketError)],
  ];
  for (const [fault, errors] of rows) {
    for (const error of errors) {
      const ownFault = error instanceof ConnectionError ? error.fault : null;
      assertEquals(ownFault, fault, Deno.inspect(error));
    }
  }
});

// ───────────────────────── errors of requests

/** A request whose server has closed the connection before it sent a response. */
const UNANSWERED: Omit<FailedRequest, "method"> = {
  phase: "sent",
  isClosedByPeer: true,
  writeError: null,
  lastStatus: 0,
  isEncrypted: false,
  openMilliseconds: 0,
  idleSeconds: null,
};
const late = { openMilliseconds: 2000 };
const { BrokenPipe, ConnectionReset, TimedOut } = Deno.errors;

const idle = { phase: "idle" } as const;
const responding = { phase: "responding" } as const;
const encrypted = { isEncrypted: true };
const byThisEnd = { isClosedByPeer: false };

/** Makes the error that a connection makes of an error of its socket. */
const socketError = (error: Error) => toConnectionError(error) as Error;

const reset = socketError(new ConnectionReset("reset"));
const sourceReset = new ConnectionReset("reset");
const end = noResponseError();
const cable = new Error("the cable was cut");
const brokenPipe = socketError(new BrokenPipe("EPIPE"));
const alert = new TlsError("REFUSED_BY_PEER", "CertificateRequired");
const untrusted = new TlsError("UNTRUSTED", "forgotten");
const misused = new TlsError("POLICY", "the session was resumed");
const incomplete = new ConnectionError("the peer closed the connection within a preamble", {
  fault: "broken",
  code: "PREAMBLE_INCOMPLETE",
});
const excess = new ProtocolError("EXCESS_BYTES", "unrequested bytes");
const timedOut = socketError(new TimedOut("too late"));

const WAS_RESET = "the peer reset the connection before it responded";
const HAD_ENDED = "the peer had closed the connection before the request was sent";

type FailureRow = readonly [
  name: string,
  error: Error,
  known: Partial<FailedRequest>,
  reported: Error | string,
];

/** The reported errors, or their messages, by the methods for which they are transient. */
const rows: Record<"every method" | "GET and HEAD" | "no method", readonly FailureRow[]> = {
  "GET and HEAD": [
    ["the server ends", end, {}, end.message],
    ["the server resets", reset, {}, WAS_RESET],
    [
      "the server ends a reused connection",
      end,
      { idleSeconds: 5.94 },
      `${end.message}; the connection had been idle for 5.9 s`,
    ],
    ["a response begins, and the server ends", incomplete, responding, incomplete],
    ["the server doesn't read the body, and ends", end, { writeError: brokenPipe }, end.message],
    [
      "the server doesn't read the body, and the network fails",
      cable,
      { writeError: brokenPipe },
      brokenPipe,
    ],
    ["the server doesn't read the body, and responds with 200", brokenPipe, {
      writeError: brokenPipe,
      ...responding,
    }, brokenPipe],
    ["TLS: the first request, the server ends", end, encrypted, end.message],
    ["TLS: the server ends after two seconds", end, { ...encrypted, ...late }, end.message],
    ["TLS: a later request, the server ends", end, { ...encrypted, lastStatus: 200 }, end.message],
  ],
  "every method": [
    ["the client times out", timedOut, byThisEnd, timedOut],
    ["the source of the request's body is another connection", reset, byThisEnd, reset],
    ["TLS: the server had ended after two seconds, before the request", end, {
      ...encrypted,
      ...late,
      ...idle,
    }, HAD_ENDED],
    [
      "TLS: the server had ended before the request",
      end,
      { ...encrypted, ...idle },
      HAD_ENDED,
    ],
    ["the server had ended before the request", new EmptyPreambleError(), idle, HAD_ENDED],
    ["the server had ended a reused connection before the request", end, {
      ...idle,
      idleSeconds: 70,
    }, `${HAD_ENDED}; the connection had been idle for 70.0 s`],
    ["the server had ended before the request, after an error status", end, {
      ...idle,
      lastStatus: 400,
    }, `${HAD_ENDED}, after a response with status 400`],
  ],
  "no method": [
    ["the network fails", cable, {}, cable],
    [
      "the source of the request's body is a disk with the code of a reset",
      sourceReset,
      byThisEnd,
      sourceReset,
    ],
    ["trust was withdrawn", untrusted, { ...encrypted, ...byThisEnd }, untrusted],
    ["TLS: the server refuses with an alert", alert, encrypted, alert],
    ["TLS: the server breaks the protocol", misused, encrypted, misused],
    ["the server sends bytes that begin no response", excess, responding, excess],
  ],
};

Deno.test("the error of a request has the details of its connection, and is transient unless the server may have processed the request", async (t) => {
  const allRows = Object.entries(rows).flatMap(([methods, list]) =>
    list.map((row) => [...row, methods] as const)
  );
  await testEachRow(t, allRows, (_name, error, details, reported, methods) => {
    for (const method of ["GET", "HEAD", "PUT", "POST", "DELETE"] as const) {
      const explained = makeRequestError(error, { ...UNANSWERED, ...details, method });
      assertInstanceOf(explained, Error);
      if (typeof reported === "string") assertEquals(explained.message, reported);
      else assertStrictEquals(explained, reported);
      const expected = methods === "every method" || methods.includes(method);
      assertEquals(isTransient(explained), expected, method);
      // The next method uses the same error.
      setErrorFlag(explained, "maybeProcessed", false);
    }
  });
});

// ───────────────────────── closed connections

const EMPTY = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const LAST = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";

Deno.test("a request on a closed connection says why the connection was closed, and describes a close by the server", async (t) => {
  const rows: [
    label: string,
    close: (pair: ConnectedClient) => unknown,
    reason: string | null,
    fault: string,
  ][] = [
    [
      "the server's connection: close",
      async ({ answer }) => await (await answer(LAST)).text(),
      "because the server's last response had connection: close (response 1 of this connection); make a new one",
      "broken",
    ],
    [
      "the client's connection: close",
      async ({ conn, peer }) => {
        const [response] = await Promise.all([
          conn.get("/", { connection: "close" }),
          peer.respond(LAST),
        ]);
        await response.text();
      },
      "because its last request had connection: close; make a new one",
      "closed",
    ],
    [
      "a close of the idle connection",
      async ({ answer, conn, peer }) => {
        await answer(EMPTY);
        peer.close();
        await catchRejection(conn.get("/"), "the first request");
      },
      "because of an earlier error (EmptyPreambleError: the",
      "broken",
    ],
    [
      "a body that breaks off",
      async ({ answer, peer }) => {
        const response = await answer("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        peer.close();
        await catchRejection(response.bytes(), "the body");
      },
      "because of an earlier error (ConnectionError: the peer closed 100000 bytes before",
      "broken",
    ],
    [
      "an abort",
      async ({ conn, peer }) => {
        const controller = new AbortController();
        const failed = catchRejection(
          conn.get("/", {}, { signal: controller.signal }),
          "the first request",
        );
        await peer.readPreamble();
        controller.abort(new Error("enough"));
        await failed;
      },
      "because of an earlier error (Error: enough)",
      "closed",
    ],
    ["the program", ({ conn }) => conn.close(), null, "closed"],
    [
      "a body that the program cancels",
      async ({ answer }) => {
        const { body } = await answer("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        await body!.cancel();
      },
      null,
      "closed",
    ],
  ];
  await testEachRow(t, rows, async (_label, close, reason, fault) => {
    using pair = await connect();
    await close(pair);
    const error = await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
    assertEquals([error.code, isTransient(error)], ["CLOSED", false]);
    const start = reason === null
      ? "the connection is closed; "
      : `the connection is closed, ${reason}`;
    assertEquals(error.message.slice(0, start.length), start);
    if (reason !== null) assertStringIncludes(error.message, "or use a ConnectionPool");
    assertEquals(error.fault, fault);
  });
});

const obstacle = await findNetworkObstacle();

Deno.test(
  "no route, no host, no address of that family, no name: over TCP and TLS",
  ignoreIf(obstacle && `no network namespace can be made here (${obstacle})`),
  async () => {
    const pki = await openSharedPki();
    const results: Record<string, Record<string, unknown>> = JSON.parse(
      await runProgram("unreachable.ts", {
        flags: ["--allow-net", "--allow-read", "--allow-run=ip"],
        args: [JSON.stringify(pki.clientSslconfig)],
        through: THROUGH_NAMESPACE,
      }),
    );
    const hosts = { "10.9.9.9": /EHOSTUNREACH/, "10.8.8.8": /ENETUNREACH/, "::1": /EADDRNOTAVAIL/ };
    for (const kind of ["Client", "SSLClient"]) {
      for (const [host, code] of Object.entries(hosts)) {
        const { description, transient, systemCode } = results[`${kind} ${host}`]!;
        const expected = makeDescription("unreachable", {
          address: [host, 80],
          isConnecting: true,
        });
        assertEquals([description, transient], [expected, true], `${kind} ${host}`);
        // Deno's node:net reports EINVAL for an address that no interface has.
        if (kind === "Client") assertMatch(`${systemCode}`, code);
      }
      const { description } = results[`${kind} name.invalid`]!;
      const address: Address = ["name.invalid", 80];
      assertEquals(description, makeDescription("unknown name", { address, isConnecting: true }));
    }
  },
);
