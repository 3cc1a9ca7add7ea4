/** Requests that are sent while a full server closes their idle session. */
import { ConnectionError } from "@degu/degu/base";
import { ConnectionPool } from "@degu/degu/client";
import type { App } from "@degu/degu/server";
import { serve } from "@degu/testing/serving.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals } from "@std/assert";

const CLIENTS = 100;
const ROUNDS = 10;

for (const kind of ["plain", "TLS"]) {
  Deno.test(`1,000 POSTs against a full server whose idle sessions end are carried out at most once (${kind})`, async () => {
    const carriedOut = new Map<string, number>();
    const app: App = async ({ uri, body }) => {
      carriedOut.set(uri, (carriedOut.get(uri) ?? 0) + 1);
      return [200, "OK", {}, `${uri} ${await body!.text()}`];
    };
    await using endpoint = kind === "TLS"
      ? await startTls(await openSharedPki(), app)
      : withClient(serve(app));
    const { client, logger } = endpoint;
    let answered = 0;
    await Promise.all(Array.from({ length: CLIENTS }, async (_, index) => {
      await using pool = new ConnectionPool(client, { maxConnections: 1, idleTimeout: null });
      for (let round = 0; round < ROUNDS; round++) {
        // An idle session is closed after a second. Send requests just before, during and just
        // after that.
        await new Promise((resolve) => setTimeout(resolve, 900 + Math.random() * 200));
        const uri = `/${index}/${round}`;
        try {
          const response = await pool.post(uri, {}, "hello");
          assertEquals(await response.text(), `${uri} hello`);
          answered++;
          assertEquals(carriedOut.get(uri), 1, uri);
        } catch (error) {
          if (!isEnd(error)) throw error;
        }
      }
    }));
    const closedLines = logger.messagesOf("debug").filter((line) =>
      line.includes("another connection waited")
    );
    const twice = [...carriedOut].filter(([, count]) => count > 1);
    assertEquals(twice, []);
    // Both outcomes must be frequent, or the race was not tested.
    assert(closedLines.length > CLIENTS, `${closedLines.length} sessions gave way`);
    assert(answered > CLIENTS * ROUNDS / 2, `${answered} answered`);
  });
}

function withClient(serving: ReturnType<typeof serve>) {
  return { ...serving, client: serving.makeClient() };
}

/** Whether the connection was closed instead of a response, which is allowed for a POST. */
function isEnd(error: unknown): boolean {
  return error instanceof ConnectionError || error instanceof Deno.errors.BrokenPipe ||
    error instanceof Error &&
      ["EmptyPreambleError", "ConnectionClosedError", "TlsError"].includes(error.name);
}
