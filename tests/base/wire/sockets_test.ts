/**
 * The rows of requests.rows.ts and responses.rows.ts over sockets: what a server and a client send,
 * accept and refuse. tests/integration/ has the same rows through a proxy.
 */
import { EmptyPreambleError, type Socket } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { TempServer } from "@degu/degu/misc";
import type { AppFunction } from "@degu/degu/server";
import { connect } from "../../net/client/connected.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertProtocolRejection } from "@degu/testing/expectations.ts";
import { isBroken, type RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { checkEachRow } from "@degu/testing/rows.ts";
import { type RecordingLogger, serve } from "@degu/testing/serving.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { readOneResponse, readRequests } from "../../fuzz/oracle.ts";
import { receiveResponse } from "../../fuzz/received.ts";
import {
  describeApp,
  formatResponses,
  isClosedByServer,
  type RequestRow,
  requestRows,
  someRequestRows,
} from "./requests.rows.ts";
import { type ResponseRow, responseRows, someResponseRows } from "./responses.rows.ts";

Deno.test("the rows of requests agree with the grammar", () => {
  for (const { name, bytes, expected, accepted, broken, lastResponse } of requestRows) {
    const counts = [accepted.length, broken !== undefined];
    assertEquals(counts, [expected.accepted, expected.isBroken], name);
    assert(readRequests(bytes).answers.includes(lastResponse), name);
  }
});

/** Sends pieces; ends the connection only if the server waits for its end; reads to its end. */
async function converse(socket: Socket, row: RequestRow, pieces: Iterable<string>) {
  const send = async () => {
    for (const piece of pieces) {
      for (let bytes = encodeLatin1(piece); bytes.length > 0;) {
        bytes = bytes.subarray(await socket.write(bytes));
      }
    }
    if (!isClosedByServer(row)) await socket.closeWrite?.();
  };
  // A server that refuses early may not read all bytes.
  const sending = send().catch(() => {});
  let received = "";
  const into = new Uint8Array(65536);
  try {
    for (let count; (count = await withTimeout(socket.read(into), row.name)) !== null;) {
      received += decodeLatin1(into.subarray(0, count));
    }
  } catch (error) {
    // A connection that the server closes without a response may be reset.
    if (!isBroken(error)) throw error;
  }
  await sending;
  socket.close();
  return received;
}

/** Returns the ways to send the bytes of a row. */
function* listSplits(row: RequestRow): Generator<readonly string[]> {
  const { bytes, name } = row;
  yield [bytes];
  // The server sends 100 if it waits for the body.
  if (bytes.length > 1000 || name === "Expect with a body") return;
  if (someRequestRows.includes(row)) yield [...bytes];
}

Deno.test("a server answers the requests of each row, and sends at most one response to other bytes", async () => {
  let calls: string[] = [];
  const app: AppFunction = (request) => {
    calls.push(request.uri);
    return describeApp(request);
  };
  await using serving = serve(app, { timeout: null, hosts: "any" });
  const client = serving.makeClient();
  await checkEachRow(requestRows, async (row) => {
    const uris = row.accepted.map(({ uri }) => uri);
    for (const pieces of listSplits(row)) {
      calls = [];
      const received = await converse(await client.createSocket(), row, pieces);
      assertEquals(received, formatResponses(row));
      assertEquals(calls, row.broken === undefined ? uris : [...uris, row.broken]);
    }
  });
  assertEquals([serving.logger.messagesOf("warn"), serving.logger.messagesOf("error")], [[], []]);
});

interface ServedPlace extends AsyncDisposable {
  readonly client: Client;
  readonly logger?: RecordingLogger;
}

const PLACES: Readonly<Record<string, (dir: string) => Promise<ServedPlace> | ServedPlace>> = {
  "over a Unix socket": (dir) => {
    const serving = serve(describeApp, { timeout: null }, `${dir}/socket`);
    return { ...serving, client: serving.makeClient() };
  },
  "over TLS": async () =>
    await startTls(await openSharedPki(), describeApp, { server: { timeout: null } }),
  async "of a TempServer"() {
    const settings = { address: ["127.0.0.1", 0], options: { hosts: "any" } } as const;
    const server = await TempServer.start(settings, null, describeApp);
    const client = new Client(server.address);
    return { client, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  },
};

/** Returns the methods and the framing of the accepted requests of a row, and how the row ends. */
function describeOutcome({ accepted, broken, lastResponse }: RequestRow): string {
  const requests = accepted.map(({ method, body }) => [method, body && typeof body]);
  return JSON.stringify([requests, broken !== undefined, lastResponse]);
}

for (const [label, start] of Object.entries(PLACES)) {
  Deno.test(`a server ${label} sends the same bytes as over TCP`, async () => {
    await using dir = await createTempDir();
    await using place = await start(dir.path);
    const rows = new Map(requestRows.map((row) => [describeOutcome(row), row]));
    for (const row of new Set([...rows.values(), ...requestRows.filter((_, i) => i % 40 === 0)])) {
      if (label === "over TLS" && row.expected.last === 421) continue;
      const received = await converse(await place.client.createSocket(), row, [row.bytes]);
      assertEquals(received, formatResponses(row), row.name);
    }
    // A peer can't cause lines above level info.
    const levels = new Set(place.logger?.lines.map(([level]) => level));
    assertEquals([levels.has("warn"), levels.has("error")], [false, false]);
  });
}

Deno.test("a server over TLS answers a target in absolute form with https or http", async () => {
  await using place = await startTls(await openSharedPki(), ({ uri, headers }) => [
    200,
    "OK",
    {},
    `${headers.host}${uri}`,
  ], { server: { timeout: null } });
  for (const scheme of ["https", "HTTPS", "http"]) {
    const [row] = requestRows;
    const request = `GET ${scheme}://b:1/c?d HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`;
    const received = await converse(await place.client.createSocket(), row!, [request]);
    assertEquals(
      received,
      "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 7\r\n\r\nb:1/c?d",
      scheme,
    );
  }
});

Deno.test("a connection that onConnect refuses gets no byte, in reply to any bytes", async () => {
  await using serving = serve({ onConnect: () => false, handle: describeApp });
  for (const row of requestRows.filter((_, i) => i % 10 === 0)) {
    const socket = await serving.makeClient().createSocket();
    assertEquals(await converse(socket, row, [row.bytes]), "", row.name);
  }
  await assertRejects(() => serving.makeClient().request("GET", "/"), EmptyPreambleError);
});

/** Returns the status, reason, headers and body by the grammar, and the state after the body. */
function findExpected({ method, bytes, codes }: ResponseRow) {
  if (codes.length > 0) return null;
  const { excess, closes, endsWithConnection, ...response } = readOneResponse(method, bytes)!;
  const state = closes ? "closed" : excess > 0 ? "EXCESS_BYTES" : "usable";
  return { response, state, endsWithConnection };
}

Deno.test("a client accepts or refuses the response of each row, and uses no byte after it for the next response", async () => {
  await checkEachRow(responseRows, async (row) => {
    const canSendSingleBytes = row.bytes.length < 1000 && someResponseRows.includes(row);
    for (const pieces of canSendSingleBytes ? [[row.bytes], [...row.bytes]] : [[row.bytes]]) {
      await checkResponse(row, pieces);
    }
  });
});

async function checkResponse(row: ResponseRow, pieces: readonly string[]): Promise<void> {
  const { name, method, codes } = row;
  const expected = findExpected(row);
  using pair = await connect();
  const { conn, peer } = pair;
  const responding = conn.request(method, "/", {}, null).then(receiveResponse);
  const checking = expected === null
    ? assertProtocolRejection(responding, codes, name)
    : responding.then((response) => assertEquals(response, expected.response));
  await peer.readPreamble();
  const isEnded = codes.includes("BODY_INCOMPLETE") || expected?.endsWithConnection === true;
  await sendUntilClosed(peer, pieces, isEnded);
  await checking;
  if (expected?.state === "usable") {
    const { status } = await pair.answer("HTTP/1.1 204 No Content\r\n\r\n");
    return assertEquals(status, 204);
  }
  if (expected?.state === "EXCESS_BYTES") {
    await waitForTick();
    await assertProtocolRejection(conn.get("/"), ["EXCESS_BYTES"], name);
  }
  assertEquals(conn.closed, true);
  await peer.assertClosedSilently();
}

/** Sends pieces, and possibly an end, to a client that may close early. */
async function sendUntilClosed(peer: RawPeer, pieces: Iterable<string>, isEnded: boolean) {
  try {
    await peer.send(...pieces);
    if (isEnded) await peer.closeWrite();
  } catch (error) {
    if (!isBroken(error)) throw error;
  }
}
