/** The error of a request on a closed connection, which has the reason of the close. */
import { ConnectionClosedError } from "@degu/degu/base";
import { describeConnectionError, isTransient } from "@degu/degu/client";
import { connect, type ConnectedClient } from "@degu/testing/connected.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

const EMPTY = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const LAST = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";

Deno.test("a request on a closed connection says why the connection was closed, and describes a close by the server", async (t) => {
  const rows: [
    label: string,
    close: (pair: ConnectedClient) => unknown,
    reason: string | null,
    fault: string | null,
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
      "because its last request had connection: close",
      null,
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
      null,
    ],
    ["the program", ({ conn }) => conn.close(), null, null],
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
    assertEquals(describeConnectionError(error)?.fault ?? null, fault);
  });
});
