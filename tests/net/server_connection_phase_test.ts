/** What a connection is doing when a session ends, in every turn of the event loop. */
import { assertEquals, assertStrictEquals } from "@std/assert";
import { Session } from "@degu/degu/server";
import { api } from "@degu/internal/base/app/app.ts";
import { ServerConnection } from "@degu/internal/net/server_connection.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

const get = "GET / HTTP/1.1\r\n\r\n";
const ok = () => [200, "OK", {}, null] as const;
const reason = new Error("revoked");

Deno.test("closing a session at any moment of an answer is reported once", async () => {
  for (let turn = 0; turn < 40; turn++) {
    const socket = new RecordingSocket();
    const logger = new RecordingLogger();
    const session = new Session("name", null, 10);
    const context = {
      handle: () => {
        const closing = async () => {
          for (let i = 0; i < turn; i++) await null;
          session.close(reason);
        };
        void closing();
        return ok();
      },
      onConnect: null,
      api,
      timeout: null,
      logger,
      sessions: new Set<Session>(),
      watchExchange: null,
      stopping: false,
    };
    const connection = new ServerConnection(context, socket, session, () => true);
    socket.give(get);
    await within(connection.serve(), "the connection ends");
    for (let i = 0; i < 40; i++) await null;
    const message = "closed by the app: Error: revoked";
    assertEquals(logger.lines, [["debug", `name: ${message}`]], `${turn} turns later`);
    assertEquals([session.message, socket.closings], [message, 1]);
    assertStrictEquals(session.signal.reason, reason);
  }
});
