/**
 * A server of `npm:hono` on `Deno.serve`. Its other end is `fetch`.
 *
 * @module
 */

import { Hono } from "hono";
import { answerBody, checkedHeader, checkHeader, responseHeaders } from "../messages.ts";
import { runPeer } from "../peer.ts";
import type { Endpoint, ServerWork } from "../work.ts";
import { listen } from "./fetch.ts";

function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const app = new Hono();
  if (work.kind === "exchange") {
    app.post("/", async (context) => context.body(await context.req.arrayBuffer()));
    app.get("/", (context) => {
      checkHeader(context.req.header(checkedHeader));
      return context.body(null, 200, responseHeaders);
    });
  } else if (work.kind === "answer") {
    app.get("/", (context) => context.body(answerBody));
  } else {
    throw new Error(`hono is not measured with ${work.kind}`);
  }
  return listen(endpoint, (request) => app.fetch(request));
}

if (import.meta.main) await runPeer({ serve });
