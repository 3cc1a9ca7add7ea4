/** Questions to a server, each asked by curl and by a Degu client, and what the answers differ in. */

import { Client, ConnectionPool, type Method, ProxyApp, Server } from "@degu/degu";
import {
  type BodyOut,
  ChunkedBodyIter,
  type HeadersToSend,
  Range,
  SuffixRange,
} from "@degu/degu/base";
import { problemOf, run } from "./programs.ts";

/** What a path of a server is. */
export type PathName =
  | "file" // text of 26 bytes
  | "large" // a file of 300,000 bytes
  | "empty" // an empty file
  | "missing" // nothing
  | "directory" // a directory, without the slash at its end
  | "list" // a directory with its slash
  | "program" // text of unknown length, made by a program
  | "cookies" // two cookies
  | "moved" // a redirect by a program
  | "echo" // a program that sends back what it gets
  | "form"; // a request of the server's own protocol: its body is `formBody`

/** The paths of a server; a path that isn't there isn't asked for. */
export type Paths = Readonly<Partial<Record<PathName, string | undefined>>>;

export interface Question {
  readonly method?: Method;
  readonly path: PathName;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** The range of the request, also as curl writes it. */
  readonly range?: readonly [Range | SuffixRange | string, string];
  readonly body?: "length" | "chunked";
  readonly isConditional?: boolean;
  readonly isRepeated?: boolean;
  /** Whether Degu asks through a `ProxyApp`. */
  readonly isProxied?: boolean;
}

/** The questions by the names of their columns. */
export const QUESTIONS: Readonly<Record<string, Question>> = {
  get: { path: "file" },
  head: { path: "file", method: "HEAD" },
  missing: { path: "missing" },
  large: { path: "large" },
  empty: { path: "empty" },
  list: { path: "list" },
  directory: { path: "directory" },
  range: { path: "file", range: [new Range(2, 5), "2-4"] },
  suffix: { path: "file", range: [new SuffixRange(3), "-3"] },
  open: { path: "file", range: [new Range(2, Infinity), "2-"] },
  player: { path: "file", range: [new Range(0, Infinity), "0-"], isProxied: true },
  beyond: { path: "file", range: [new Range(100_000, 100_001), "100000-100000"] },
  since: { path: "file", isConditional: true },
  twice: { path: "file", isRepeated: true },
  program: { path: "program" },
  "program head": { path: "program", method: "HEAD" },
  cookies: { path: "cookies" },
  moved: { path: "moved" },
  post: { path: "echo", method: "POST", body: "length" },
  chunked: { path: "echo", method: "POST", body: "chunked" },
  put: { path: "echo", method: "PUT", body: "length" },
  delete: { path: "missing", method: "DELETE" },
  "post file": { path: "file", method: "POST", body: "length" },
  form: { path: "form", method: "POST", body: "length" },
};

export interface FormBody {
  readonly contentType: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly headers?: readonly (readonly [name: string, value: string])[];
}

/** A response; the values of a header that comes twice are joined, cookies by line breaks. */
interface Answer {
  readonly statusLine: string;
  readonly headers: Map<string, string>;
  readonly body: Uint8Array;
}

const TIMEOUT_SECONDS = 10;

/**
 * Asks a server by curl, by Degu and again by curl. Returns `null` if the answers are the same,
 * "–" if curl has no answer, and else the difference. What differs between the answers that curl
 * got, such as `date`, is not compared.
 */
export async function tryQuestion(
  port: number,
  question: Question,
  paths: Paths,
  dir: string,
  form: FormBody | undefined,
): Promise<string | null> {
  const path = paths[question.path];
  if (path === undefined) return "–";
  const headers = [...question.headers ?? []];
  if (question.isConditional) {
    const answer = await askCurl(port, { path: question.path }, path, headers, dir, form);
    const modified = typeof answer === "string" ? undefined : answer.headers.get("last-modified");
    if (modified === undefined) return "–";
    headers.push(["if-modified-since", modified]);
  }
  for (let attempt = 1;; attempt++) {
    const outcome = await compareAnswers(port, question, path, headers, dir, form);
    // What a server sends can depend on the moment, such as the first bytes of a CGI program.
    if (outcome === null || outcome === "–" || attempt === 4) return outcome;
  }
}

async function compareAnswers(
  port: number,
  question: Question,
  path: string,
  headers: readonly (readonly [string, string])[],
  dir: string,
  form: FormBody | undefined,
): Promise<string | null> {
  const before = await askCurl(port, question, path, headers, dir, form);
  if (typeof before === "string") {
    console.log(`curl: ${question.method ?? "GET"} ${path}: ${before}`);
    return "–";
  }
  const answer = await askDegu(port, question, path, headers, form);
  const after = await askCurl(port, question, path, headers, dir, form);
  if (typeof after === "string") return `curl the second time: ${after}`;
  if (typeof answer === "string") return answer;
  // A proxy doesn't pass on the headers of the connection.
  const names = question.isProxied ? ["connection", "keep-alive", "proxy-connection"] : [];
  for (const { headers } of [before, after, answer]) names.forEach((name) => headers.delete(name));
  return findDifference(answer, before, after);
}

function findDifference(answer: Answer, before: Answer, after: Answer): string | null {
  if (answer.statusLine !== before.statusLine && answer.statusLine !== after.statusLine) {
    return `the status is ${answer.statusLine}; curl got ${before.statusLine}`;
  }
  for (const name of new Set([...before.headers.keys(), ...answer.headers.keys()])) {
    const values = [before, after].map(({ headers }) => headers.get(name));
    const value = answer.headers.get(name);
    // A header that only one answer of curl has may be there or not.
    if (values[0] === undefined !== (values[1] === undefined)) continue;
    const isVarying = (values[0] !== values[1] || name === "date") && value !== undefined;
    if (!isVarying && value !== values[0]) return `${name} is ${value}; curl got ${values[0]}`;
  }
  if (!isEqual(before.body, after.body)) return null;
  return isEqual(answer.body, before.body)
    ? null
    : `the body has ${answer.body.length} bytes; curl got ${before.body.length}`;
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

const HELLO: FormBody = {
  contentType: "text/plain",
  bytes: new TextEncoder().encode("hello"),
};

async function askCurl(
  port: number,
  question: Question,
  path: string,
  headers: readonly (readonly [string, string])[],
  dir: string,
  formBody: FormBody = HELLO,
): Promise<Answer | string> {
  const { method = "GET", range, body, isRepeated = false } = question;
  const form = question.path === "form" ? formBody : HELLO;
  const url = `http://127.0.0.1:${port}${path}`;
  const args = ["-g", "--http1.1", "-A", "", "-H", "accept:", "-H", "expect:"];
  if (method === "HEAD") args.push("-I");
  else if (method !== "GET") args.push("-X", method);
  for (const [name, value] of [...headers, ...body ? form.headers ?? [] : []]) {
    args.push("-H", `${name}: ${value}`);
  }
  if (range !== undefined) args.push("-r", range[1]);
  if (body !== undefined) {
    await Deno.writeFile(`${dir}/curl.request`, form.bytes);
    args.push("--data-binary", `@${dir}/curl.request`, "-H", `content-type: ${form.contentType}`);
  }
  if (body === "chunked") args.push("-H", "transfer-encoding: chunked");
  await Deno.writeFile(`${dir}/curl.body`, new Uint8Array());
  const output = isRepeated ? ["-o", "/dev/null", url] : [];
  const result = await run([
    ...["curl", "-q", "-sS", "--max-time", `${TIMEOUT_SECONDS}`, "-D", `${dir}/curl.head`],
    ...[...args, ...output, "-o", `${dir}/curl.body`, url],
  ]);
  if (!result?.success) return problemOf(result);
  const head = new TextDecoder("latin1").decode(await Deno.readFile(`${dir}/curl.head`));
  // Of the interim responses, and of the responses before the last one, nothing is compared.
  const lines = head.split(/\r?\n\r?\n/).filter(Boolean).at(-1)?.split(/\r?\n/) ?? [];
  const [statusLine = "", ...headerLines] = lines;
  const answerHeaders = new Map<string, string>();
  for (const line of headerLines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).replaceAll(/^[ \t]+|[ \t]+$/g, "");
    const first = answerHeaders.get(name);
    const separator = name === "set-cookie" ? "\n" : ", ";
    answerHeaders.set(name, first === undefined ? value : first + separator + value);
  }
  return {
    statusLine: statusLine.replace(/^HTTP\/\S+ /, ""),
    headers: normalize(answerHeaders),
    body: method === "HEAD" ? new Uint8Array() : await Deno.readFile(`${dir}/curl.body`),
  };
}

async function askDegu(
  port: number,
  question: Question,
  path: string,
  headerPairs: readonly (readonly [string, string])[],
  formBody: FormBody = HELLO,
): Promise<Answer | string> {
  const { method = "GET", range, body, isRepeated = false, isProxied = false } = question;
  const form = question.path === "form" ? formBody : HELLO;
  const headers: HeadersToSend = {
    ...Object.fromEntries([...headerPairs, ...body ? form.headers ?? [] : []]),
    ...range === undefined ? {} : { range: range[0] },
    ...body === undefined ? {} : { "content-type": form.contentType },
  };
  const makeBody = (): BodyOut => {
    if (body === undefined) return null;
    if (body === "length") return form.bytes;
    return new ChunkedBodyIter([[null, form.bytes], [null, new Uint8Array()]]);
  };
  const server = new Client(["127.0.0.1", port], { timeout: TIMEOUT_SECONDS });
  try {
    await using app = new ProxyApp(server);
    await using proxy = isProxied ? await Server.start(["127.0.0.1", 0], app) : null;
    const client = proxy === null
      ? server
      : new Client(proxy.address, { timeout: TIMEOUT_SECONDS, host: `127.0.0.1:${port}` });
    await using pool = new ConnectionPool(client);
    if (isRepeated) await (await pool.request(method, path, headers, makeBody())).bytes();
    const response = await pool.request(method, path, headers, makeBody());
    const answerHeaders = Object.entries(response.headers).map(([name, value]) =>
      [name, Array.isArray(value) ? value.join("\n") : String(value)] as const
    );
    return {
      statusLine: `${response.status} ${response.reason}`,
      headers: normalize(new Map(answerHeaders)),
      body: await response.bytes(),
    };
  } catch (error) {
    return String(error).split("\n")[0] ?? "";
  }
}

/** Gives the values that have several spellings one. */
function normalize(headers: Map<string, string>): Map<string, string> {
  const length = headers.get("content-length");
  if (length !== undefined) headers.set("content-length", String(Number(length)));
  // A Degu client removes this header, which means that there is no body.
  if (Number(length) === 0) headers.delete("content-length");
  const encoding = headers.get("transfer-encoding");
  if (encoding !== undefined) headers.set("transfer-encoding", encoding.toLowerCase());
  return headers;
}
