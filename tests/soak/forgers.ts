/**
 * Attempts to make an app behind another server see a request that was never sent.
 *
 * @module
 */

import type { Client } from "@degu/degu";
import type { Random } from "../fuzz/random.ts";
import { pause, type Run } from "./traffic.ts";

const encoder = new TextEncoder();
const NAME = "client: forges a request";
const ANSWER = "HTTP/1.1 400 ";

/** The text with each character that separates something as another one with the same low byte. */
function disguised(text: string, random: Random): string {
  const high = random.pick([0x100, 0x200, 0x2100, 0xff00]);
  return text.replace(/[\r\n :/?]/g, (c) => String.fromCharCode(high + c.charCodeAt(0)));
}

/** A request that has to be refused. */
function forgery(random: Random): string {
  const hidden = " HTTP/1.1\r\nchecksum: 0-0\r\nx-user: root\r\n\r\n";
  const target = "/data?seed=0&size=0";
  return random.pick([
    `GET ${target}${disguised(hidden, random)} HTTP/1.1\r\nhost: a\r\n\r\n`,
    `GET /${disguised("/data", random)} HTTP/1.1\r\nhost: a\r\n\r\n`,
    `GET ${target} HTTP/1.1\r\nhost: a${disguised(hidden, random)}\r\n\r\n`,
    `GET ${target} HTTP/1.1\r\nhost: a\r\nx: y${disguised(hidden, random)}\r\n\r\n`,
    `GET ?seed=0 HTTP/1.1\r\nhost: a/data\r\n\r\n`,
    `GET / HTTP/1.1\r\nhost: a/data\r\n\r\n`,
    `GET http://b${target} HTTP/1.1\r\nhost: a\r\nchecksum: 0-0\r\n\r\n`,
    `GET ${target} HTTP/1.1\r\nhost: a\r\nauthorization: Basic a\r\nauthorization: Basic b\r\n\r\n`,
  ]);
}

/** Tries. */
export async function runForger(client: Client, { random, tally, signal }: Run): Promise<void> {
  const buffer = new Uint8Array(4096);
  while (!signal.aborted) {
    const socket = await client.createSocket();
    try {
      const request = forgery(random);
      await socket.write(encoder.encode(request));
      const count = await socket.read(buffer) ?? 0;
      const answer = new TextDecoder().decode(buffer.subarray(0, Math.min(count, ANSWER.length)));
      if (answer !== ANSWER) tally.failures.push(`${NAME}: ${answer} to ${request}`);
      tally.count(NAME);
    } finally {
      socket.close();
    }
    await pause(random.below(10));
  }
}
