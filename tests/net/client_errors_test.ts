/**
 * The errors that a client reports for failed requests: a row for each combination of
 * circumstances.
 */
import { EmptyPreambleError, ProtocolError, TlsError } from "@degu/degu/base";
import { isTransient } from "@degu/degu";
import { markSocketError } from "@degu/internal/net/transport/connection_errors.ts";
import {
  type FailedRequest,
  makeRequestError,
  noResponseError,
} from "@degu/internal/net/client/client_errors.ts";
import { clearMaybeProcessed } from "@degu/internal/internal/error_details.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";

/** A request whose server has closed the connection before it sent a response. */
const UNANSWERED: Omit<FailedRequest, "method"> = {
  phase: "sent",
  isClosedByPeer: true,
  writeError: null,
  lastStatus: 0,
  isEncrypted: false,
  openMilliseconds: 0,
  idleSeconds: null,
  hint: null,
};
const late = { openMilliseconds: 2000 };
const { BrokenPipe, ConnectionReset, TimedOut } = Deno.errors;

const idle = { phase: "idle" } as const;
const responding = { phase: "responding" } as const;
const encrypted = { isEncrypted: true, hint: "renew it" };
const byThisEnd = { isClosedByPeer: false };

/** Marks an error as a connection does that uses the socket. */
const socketError = (error: Error) => markSocketError(error);

const reset = socketError(new ConnectionReset("reset"));
const sourceReset = new ConnectionReset("reset");
const end = noResponseError();
const cable = new Error("the cable was cut");
const brokenPipe = socketError(new BrokenPipe("EPIPE"));
const alert = new TlsError("REFUSED_BY_PEER", "CertificateRequired");
const untrusted = new TlsError("UNTRUSTED", "forgotten");
const incomplete = new ProtocolError(
  "PREAMBLE_INCOMPLETE",
  "the peer closed the connection within a preamble",
);
const excess = new ProtocolError("EXCESS_BYTES", "unrequested bytes");
const timedOut = socketError(new TimedOut("too late"));

const WAS_RESET = "the peer reset the connection before it responded; see the server's log, from " +
  "level info on";
const HAD_ENDED = "the peer had closed the connection before the request was sent";
const BUSY =
  "the server kept the connection waiting, and closed it without a response: all its connections " +
  "may be in use, so call again later; see the server's log, from level info on";
const REFUSED = "the server closed the connection before it sent a response, which over TLS may " +
  "mean that it refuses this client: ";

type Row = readonly [
  name: string,
  error: Error,
  known: Partial<FailedRequest>,
  reported: Error | string,
];

/** The reported errors, or their messages, by the methods for which they are transient. */
const rows: Record<"every method" | "GET and HEAD" | "no method", readonly Row[]> = {
  "GET and HEAD": [
    ["the server ends", end, {}, end],
    ["the server resets", reset, {}, WAS_RESET],
    [
      "the server ends a reused connection",
      end,
      { idleSeconds: 5.94 },
      `${end.message}; the connection had been idle for 5.9 s`,
    ],
    ["a response begins, and the server ends", incomplete, responding, incomplete],
    ["the server doesn't read the body, and ends", end, { writeError: brokenPipe }, end],
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
    ["TLS: the first request, the server ends", end, encrypted, `${REFUSED}renew it`],
    ["TLS: the server ends after two seconds", end, { ...encrypted, ...late }, BUSY],
    ["TLS: a later request, the server ends", end, { ...encrypted, lastStatus: 200 }, end],
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
      `${REFUSED}renew it`,
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
    ["TLS: the server refuses with an alert", alert, encrypted, "CertificateRequired; renew it"],
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
      clearMaybeProcessed(explained);
    }
  });
});
