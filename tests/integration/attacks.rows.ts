/**
 * Attacks through proxies: responses in which two recipients could find different messages, and
 * lines of requests that a recipient could take for others. requests.rows.ts has the attacks of
 * clients. Text is Latin-1, one character per byte.
 */

import type { Method } from "@degu/degu/base";
import { formatLabel } from "@degu/testing/expectations.ts";
import { refusedCodings } from "../base/wire/chunk.rows.ts";
import { refusedStatusLines } from "../base/wire/preamble.rows.ts";
import { blocksOfPreamble } from "../base/wire/requests.rows.ts";

type Texts = readonly string[];

const TE = "transfer-encoding: chunked";

/**
 * Lines of a request that must not reach the server, since a server with CGI or WSGI could take
 * their names for those of other headers, or because they concern one connection only.
 */
export const DROPPED_LINES: Texts = [
  ...["x_user: root", "X_USER: root", "x_forwarded_for: 1.2.3.4", "content_length: 36", "_: a"],
  ...["transfer_encoding: chunked", "x.user: root", "x!user: root", "x~user: root", "x'user: root"],
  ...["__proto__: root", "connection: x-user\r\nx-user: root", "trailer: x-user", "te: trailers"],
  ...["Connection:X_User,x-User\r\nx-user:root", "proxy-connection: close", "upgrade: h2c"],
  ...["keep-alive: timeout=5", "proxy-authorization: root", "expect: 200-ok"],
];

/** The bytes of an upstream in response to `GET /attack` or another method, and what the client gets. */
export interface ResponseAttack {
  readonly name: string;
  readonly method: Method;
  readonly bytes: string;
  /** Whether the upstream closes its writing side after the bytes. */
  readonly isClosed: boolean;
  /**
   * The status of a complete response; `"cut"` if the client gets the start of a response, and no
   * end.
   */
  readonly outcome: number | "cut";
  /** The body of a complete response, without framing. */
  readonly body: string;
}

const OK = "HTTP/1.1 200 OK\r\n";
const FORGED = "HTTP/1.1 200 Forged\r\ncontent-length: 6\r\n\r\nforged";

function makeResponseRows(
  rule: string,
  outcome: Partial<Omit<ResponseAttack, "name" | "bytes">>,
  texts: Texts,
): ResponseAttack[] {
  return texts.map((bytes) => ({
    name: `${rule}: ${formatLabel(bytes)}`,
    method: "GET",
    bytes,
    isClosed: false,
    outcome: 502,
    body: "",
    ...outcome,
  }));
}

export const responseAttacks: readonly ResponseAttack[] = [
  ...makeResponseRows("headers", {}, [
    ...blocksOfPreamble.map(({ text }) =>
      `${OK}${text}

0

${FORGED}`
    ),
    `HTTP/1.0 200 OK
${TE}

0

${FORGED}`,
  ]),
  ...makeResponseRows(
    "status line",
    {},
    refusedStatusLines.map(({ text }) => `${text}\r\ncontent-length: 0\r\n\r\n${FORGED}`),
  ),
  ...makeResponseRows("an interim response with content, or another protocol", {}, [
    `HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\nhello${FORGED}`,
    `HTTP/1.1 103 Hints\r\n${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
    `HTTP/1.1 101 Switching\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n${FORGED}`,
    "HTTP/1.1 100 \r\n\r\n".repeat(33) + FORGED,
  ]),
  ...makeResponseRows("a 206 of another length", {}, [
    `HTTP/1.1 206 x\r\ncontent-length: 9\r\ncontent-range: bytes 0-0/1\r\n\r\n123456789`,
  ]),
  // Bytes after a response are no response to the next request.
  ...makeResponseRows("bytes after a response", { outcome: 200 }, [
    `${OK}content-length: 0\r\n\r\n${FORGED}`,
    `${OK}${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
    `${OK}${TE}\r\n\r\n0\r\na: b\r\n\r\n${FORGED}`,
  ]),
  ...makeResponseRows("bytes after a response with a body", { outcome: 200, body: "hello" }, [
    `${OK}content-length: 05\r\n\r\nhello${FORGED}`,
    `${OK}${TE}\r\n\r\n005;a="b"\r\nhello\r\n00\r\n\r\n${FORGED}`,
    `HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello${FORGED}`,
  ]),
  ...makeResponseRows("bytes after a response without content", { outcome: 204 }, [
    `HTTP/1.1 204 x\r\n\r\n${FORGED}`,
    `HTTP/1.1 204 x\r\ncontent-length: 5\r\n\r\nhello${FORGED}`,
    `HTTP/1.1 204 x\r\ncontent-length: ${FORGED.length}\r\n\r\n${FORGED}`,
    `HTTP/1.1 204 x\r\n${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
  ]),
  ...makeResponseRows("bytes after 304", { outcome: 304 }, [
    `HTTP/1.1 304 x\r\ncontent-length: ${FORGED.length}\r\n\r\n${FORGED}`,
    `HTTP/1.1 304 x\r\n${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
  ]),
  ...makeResponseRows("bytes after a response to HEAD", { method: "HEAD", outcome: 200 }, [
    `${OK}content-length: ${FORGED.length}\r\n\r\n${FORGED}`,
    `${OK}${TE}\r\n\r\n0\r\n\r\n${FORGED}`,
    `${OK}\r\n${FORGED}`,
  ]),
  ...makeResponseRows("bytes after 205", { outcome: 205 }, [`HTTP/1.1 205 x\r\n\r\n${FORGED}`]),
  ...makeResponseRows("a body up to the close", { outcome: 200, body: FORGED, isClosed: true }, [
    `${OK}\r\n${FORGED}`,
    `HTTP/1.0 200 OK\r\n\r\n${FORGED}`,
    `${OK}connection: keep-alive\r\n\r\n${FORGED}`,
  ]),
  ...makeResponseRows(
    "a body that breaks a rule",
    { outcome: "cut" },
    refusedCodings.map(({ text: body }) => `${OK}${TE}\r\n\r\n2\r\nhi\r\n${body}${FORGED}`),
  ),
  ...makeResponseRows("a body that is cut", { outcome: "cut", isClosed: true }, [
    `${OK}content-length: 6\r\n\r\nhello`,
    `${OK}${TE}\r\n\r\n5\r\nhello\r\n`,
    `${OK}${TE}\r\n\r\n5\r\nhello\r\n0\r\n`,
    `${OK}${TE}\r\n\r\n5\r\nhello\r\n0\r\na: b\r\n`,
    `${OK}${TE}\r\n\r\n5\r\nhel`,
  ]),
];
