/**
 * The rows of the parsers over sockets: a server and a client accept and refuse the same messages
 * as the parsers.
 */
import { ProtocolError } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { findErrorResponse } from "@degu/testing/error_answers.ts";
import { catchRejection, flatten, formatLabel } from "@degu/testing/expectations.ts";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import type { RefusedRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import type { FlatHeaders } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { acceptedBlocks, refusedBlocks } from "./headers.rows.ts";
import { acceptedStatusLines, refusedRequestLines, refusedStatusLines } from "./preamble.rows.ts";
import { acceptedUris, refusedUris } from "./uri.rows.ts";

const formatRowName = ({ rule, rfc, text }: { rule: string; rfc: string; text: string }) =>
  `${rule} (${rfc}): ${formatLabel(text)}`;

/** Returns the rows with a valid first line before each text. */
function addFirstLine(line: string, rows: readonly RefusedRow[], ...codes: string[]): RefusedRow[] {
  return rows.map((row) => ({
    ...row,
    text: `${line}\r\n${row.text}`,
    codes: [...row.codes, ...codes],
  }));
}

/** Whether the text is a single preamble, without an empty line before its end. */
const isOneMessage = ({ text }: RefusedRow) => !`${text}\r\n\r\n`.slice(0, -1).includes("\r\n\r\n");

const requests: readonly RefusedRow[] = [
  ...refusedRequestLines,
  ...refusedUris.map((row) => ({ ...row, text: `GET ${row.text} HTTP/1.1` })),
  ...addFirstLine("PUT / HTTP/1.1", refusedBlocks),
  ...addFirstLine("GET / HTTP/1.1", refusedBlocks, "FORBIDDEN_HEADER"),
].filter(isOneMessage);

const responses: readonly RefusedRow[] = [
  ...refusedStatusLines,
  ...addFirstLine("HTTP/1.1 200 OK", refusedBlocks),
].filter(isOneMessage);

Deno.test("a server refuses every request that breaks a rule, with one response or silence, and doesn't call its app", async (t) => {
  let calls = 0;
  await using serving = serve(() => {
    calls++;
    return [204, "No Content", {}, null];
  });
  for (const row of requests) {
    await t.step(formatRowName(row), async () => {
      using peer = await RawPeer.connect(serving.address);
      await peer.send(`${row.text}\r\n\r\n`);
      await peer.closeWrite();
      assertEquals((await peer.readToEnd()).received, findErrorResponse(`${row.text}\r\n\r\n`));
      assertEquals(calls, 0);
    });
  }
  assertEquals([serving.logger.messagesOf("warn"), serving.logger.messagesOf("error")], [[], []]);
  assertEquals((await serving.makeClient().request("GET", "/")).status, 204);
});

Deno.test("a client refuses every response that breaks a rule, and closes its connection", async (t) => {
  using server = new RawServer();
  for (const row of responses) {
    await t.step(formatRowName(row), async () => {
      using conn = await new Client(server.address, { host: null, timeout: 60 }).connect();
      using peer = await server.accept();
      const response = catchRejection(conn.get("/"), row.text);
      await peer.readPreamble();
      await peer.send(`${row.text}\r\n\r\n`);
      const error = await response;
      assertInstanceOf(error, ProtocolError);
      // A byte that can't start a response is refused at once.
      assert([...row.codes, "BAD_STATUS_LINE"].includes(error.code), error.code);
      assertEquals(conn.closed, true);
    });
  }
});

Deno.test("a server and a client accept every header, URI and status line that keeps the rules", async () => {
  const requests: [uri: string, headers: FlatHeaders][] = [];
  await using serving = serve(({ uri, headers }) => {
    requests.push([uri, flatten(headers)]);
    return [204, "No Content", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  const expected: typeof requests = [];
  for (const [uri] of acceptedUris) {
    for (const { text, headers } of acceptedBlocks) {
      expected.push([uri, headers]);
      const block = text === "" ? "" : `${text}\r\n`;
      // A request with `connection` may end its session, so it gets its own connection.
      using ownPeer = "connection" in headers ? await RawPeer.connect(serving.address) : null;
      await (ownPeer ?? peer).send(`GET ${uri} HTTP/1.1\r\n${block}\r\n`);
      const { connection = "" } = headers;
      const last = /(^|,) *close *(,|$)/i.test(`${connection}`) ? "connection: close\r\n" : "";
      const response = `HTTP/1.1 204 No Content\r\n${last}\r\n`;
      assertEquals(await (ownPeer ?? peer).readPreamble(), response);
    }
  }
  assertEquals(requests, expected);

  using server = new RawServer();
  for (const [line, status, reason] of acceptedStatusLines) {
    if (status < 200) continue;
    for (const { text, headers } of acceptedBlocks) {
      if ("connection" in headers) continue;
      using conn = await new Client(server.address, { host: null, timeout: 60 }).connect();
      using raw = await server.accept();
      const responding = conn.get("/");
      await raw.readPreamble();
      const isFramed = status === 204 || status === 304 || "content-length" in headers ||
        "transfer-encoding" in headers;
      const lines = [line, ...text === "" ? [] : [text], ...isFramed ? [] : ["content-length: 0"]];
      await raw.send(`${lines.join("\r\n")}\r\n\r\n`);
      const response = await responding;
      assertEquals([response.status, response.reason], [status, reason]);
      assertEquals(flatten(response.headers), headers);
    }
  }
});
