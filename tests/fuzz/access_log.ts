/** Access log lines for any text as a target, and for any bytes sent to a server. */

import { accessLog } from "@degu/degu";
import type { App, Session } from "@degu/degu/server";
import { readAccessLine } from "../support/access_lines.ts";
import { latin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import { request } from "./grammar.ts";
import { MemoryServer, MemorySocket, whole } from "./memory.ts";
import { type ModelRequest, readRequests } from "./oracle.ts";
import type { Random } from "./random.ts";

const answer: App = async ({ method, body }) => {
  await body?.writeTo({ write: () => Promise.resolve() });
  return [200, "OK", {}, method === "HEAD" ? null : new Uint8Array(3)];
};

/** Demands that a line says of a request what is so, and nothing else. */
function checkLine(
  line: string | undefined,
  { method, uri }: Pick<ModelRequest, "method" | "uri">,
  status: number | null,
): void {
  demand(line !== undefined, `no line for ${uri}`);
  const read = readAccessLine(line);
  demand(read !== null, `a line that is none: ${line}`);
  demand(read.request === `${method} ${uri} HTTP/1.1`, `another request: ${line}`);
  // A response to HEAD has no body.
  const bytes = status === null || method === "HEAD" ? 0 : 3;
  demand(read.status === status && read.bytes === bytes, `other figures: ${line}`);
}

/** The line for any text as if it had got through the parser. */
function checkTarget(uri: string): void {
  const lines: string[] = [];
  const write = accessLog((line) => lines.push(line));
  const session = { address: null } as unknown as Session;
  const figures = { requestBytes: 0, responseBytes: 3, firstByteMs: 0, totalMs: 0, error: null };
  write({ session, method: "GET", uri, status: 200, ...figures });
  demand(lines.length === 1, `${lines.length} lines for a request`);
  checkLine(lines[0], { method: "GET", uri }, 200);
}

/** One to three requests. */
function requests(random: Random): string {
  return Array.from({ length: 1 + random.below(3) }, () => request(random)).join("");
}

/** `accessLog`, alone and of a server. */
export function accessLines(): Fuzzer {
  let lines: string[] = [];
  const server = new MemoryServer(answer, accessLog((line) => lines.push(line)));
  return {
    name: "access-log",
    grammar: requests,
    async check(input): Promise<Outcome> {
      checkTarget(input);
      lines = [];
      await server.connect(new MemorySocket(whole(latin1(input))));
      const { requests, broken } = readRequests(input);
      for (const [i, each] of requests.entries()) checkLine(lines[i], each, 200);
      if (broken !== null) checkLine(lines[requests.length], broken, null);
      const expected = requests.length + (broken === null ? 0 : 1);
      demand(lines.length === expected, `${lines.length} lines in place of ${expected}`);
      return lines.length > 0 ? "accepted" : "rejected";
    },
    close: () => server.end(),
  };
}
