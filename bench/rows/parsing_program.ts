/**
 * The program of row 8: parses or formats a preamble again and again. Its argument names what.
 *
 * @module
 */

import { formatPreamble, requestHeaders, responseHeaders } from "../messages.ts";
import { answerCommands } from "../peer.ts";

/** What can be measured. */
export type ParsingCase =
  | "decode"
  | "new decoder"
  | "parse request"
  | "parse response"
  | "format request"
  | "format response";

/** Different messages, so that remembering the last one gains nothing. */
const variantCount = 64;

/** Does the work once on a variant and gives something that depends on its result. */
type Work = (variant: number) => number;

function makeVariants(headers: Readonly<Record<string, string>>): Record<string, string>[] {
  return Array.from({ length: variantCount }, (_, index) => (
    { ...headers, "x-request-id": `4bf92f35-77b3-4da6-a3ce-${String(929000000000 + index)}` }
  ));
}

const requests = makeVariants(requestHeaders);
const responses = makeVariants(responseHeaders);
const requestBytes = requests.map((headers) => formatPreamble("GET /items/17 HTTP/1.1", headers));
const responseBytes = responses.map((headers) => formatPreamble("HTTP/1.1 200 OK", headers));
/** As the parsers take them: without the final CR LF CR LF. */
const requestBlocks = requestBytes.map((bytes) => bytes.slice(0, -4));
const responseBlocks = responseBytes.map((bytes) => bytes.slice(0, -4));

function pick<Value>(values: readonly Value[], variant: number): Value {
  const value = values[variant];
  if (value === undefined) throw new RangeError(`no variant ${variant}`);
  return value;
}

async function makeWork(name: ParsingCase): Promise<Work> {
  if (name === "decode") {
    const decoder = new TextDecoder();
    return (variant) => decoder.decode(pick(requestBlocks, variant)).length;
  }
  if (name === "new decoder") {
    return (variant) => new TextDecoder().decode(pick(requestBlocks, variant)).length;
  }
  const { formatRequest, formatResponse, parseRequest, parseResponse } = await import(
    "../../misc.ts"
  );
  switch (name) {
    case "parse request":
      return (variant) => lengthOf(parseRequest(pick(requestBlocks, variant)).headers);
    case "parse response":
      return (variant) => lengthOf(parseResponse("GET", pick(responseBlocks, variant)).headers);
    case "format request":
      return (variant) => formatRequest("GET", "/items/17", pick(requests, variant)).length;
    case "format response":
      return (variant) => formatResponse(200, "OK", pick(responses, variant)).length;
  }
}

function lengthOf(headers: Readonly<Record<string, unknown>>): number {
  const value = headers["x-request-id"];
  if (typeof value !== "string") throw new Error("a header was not parsed");
  return value.length;
}

/** What the work gives for one preamble, when it is right. */
function expectedOf(name: ParsingCase): number {
  if (name === "parse request" || name === "parse response") {
    return pick(requests, 0)["x-request-id"]?.length ?? 0;
  }
  if (name === "format request") return pick(requestBytes, 0).length;
  if (name === "format response") return pick(responseBytes, 0).length;
  return pick(requestBlocks, 0).length;
}

function measure(work: Work, expected: number, amount: number): number {
  let sum = 0;
  const start = performance.now();
  for (let index = 0; index < amount; index++) sum += work(index % variantCount);
  const seconds = (performance.now() - start) / 1000;
  if (sum !== expected * amount) throw new Error("a preamble came out wrong");
  return seconds;
}

if (import.meta.main) {
  const name = Deno.args[0] as ParsingCase;
  const work = await makeWork(name);
  const expected = expectedOf(name);
  await answerCommands(true, (amount) => Promise.resolve(measure(work, expected, amount)));
}
