/** The log of README.md's server: peers can't cause lines above level info, whatever they send. */
import type { App } from "@degu/degu/server";
import { dial, exchange } from "@degu/testing/raw_peer.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { readProjectFile } from "@degu/testing/tree.ts";
import { assert, assertEquals } from "@std/assert";
import { makeRequest, makeRequestPreamble } from "../fuzz/grammar.ts";
import { Random } from "../fuzz/random.ts";

/** Loads the app of README.md, which doesn't export it. */
async function loadHelloApp(): Promise<App> {
  const [, source = ""] =
    /^`hello\.ts`:\n+```ts\n(.*?)^```$/ms.exec(await readProjectFile("README.md")) ?? [];
  const text = encodeURIComponent(`${source}\nexport { app };`);
  return (await import(`data:application/typescript,${text}`)).app;
}

/** Sends each text over a new connection; returns the responses. */
async function sendEach(serving: Serving, texts: Iterable<string | Uint8Array>): Promise<string> {
  let responses = "";
  for (const text of texts) {
    const { logger } = serving;
    const lineCount = logger.lines.length;
    responses += (await exchange(serving.address, text)).received;
    for (const [level, line] of logger.lines.slice(lineCount)) {
      assert(level === "info" || level === "debug", `${level}: ${line}`);
      // An exception is logged with its stack, and an action of a peer with one line.
      assert(!line.includes("\n"), line);
    }
  }
  return responses;
}

/** Replaces the targets of requests by the path that the app serves. */
const replaceTargets = (text: string) => text.replaceAll(/^([A-Z]+) \/[^ ]* /gm, "$1 /hello ");

Deno.test("the server of README.md doesn't log above info for inputs of the fuzzers' grammar", async () => {
  await using serving = serve(await loadHelloApp());
  const random = new Random(37);
  const texts = Array.from({ length: 200 }, () => {
    const text = random.chance(80)
      ? Array.from({ length: 1 + random.below(3) }, () => makeRequest(random)).join("")
      : `${makeRequestPreamble(random)}\r\n\r\n`;
    // Half of the requests get the path of the app, so that it responds with 200 and with 404. Some
    // messages are incomplete.
    const sent = random.chance(50) ? replaceTargets(text) : text;
    return random.chance(80) ? sent : sent.slice(0, random.below(sent.length));
  });
  const responses = await sendEach(serving, texts);
  assertEquals(serving.logger.lines.length, texts.length);
  for (const response of ["200 OK", "404 Not Found"]) {
    const count = responses.split(`HTTP/1.1 ${response}\r\n`).length - 1;
    assert(count > 20, `${count} answers ${response}: too few to say anything`);
  }
});

Deno.test("the server of README.md doesn't log above info for peers that leave at any byte", async () => {
  await using serving = serve(await loadHelloApp());
  const text = "PUT /hello HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloHEAD /hello HTTP/1.1\r\n\r\n";
  for (let at = 0; at <= text.length; at++) {
    const conn = await dial(serving.address);
    await conn.write(new TextEncoder().encode(text.slice(0, at)));
    conn.close();
  }
  // The server handles this request after all others.
  await sendEach(serving, ["GET /hello HTTP/1.1\r\nconnection: close\r\n\r\n"]);
  await serving.server.shutdown();
  for (const [level, line] of serving.logger.lines) assert(!/warn|error/.test(level), line);
});
