/**
 * Attempts to make an app behind another server see a request that was never sent.
 *
 * @module
 */

import type { Client } from "@degu/degu";
import { Random } from "../fuzz/random.ts";
import type { Tally } from "./traffic.ts";

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

/** Tries until the signal is aborted. */
export async function runForger(
  client: Client,
  seed: number,
  tally: Tally,
  signal: AbortSignal,
): Promise<void> {
  const random = new Random(seed);
  const buffer = new Uint8Array(4096);
  while (!signal.aborted) {
    const socket = await client.createSocket();
    try {
      const request = forgery(random);
      await socket.write(encoder.encode(request));
      const count = await socket.read(buffer) ?? 0;
      const answer = new TextDecoder().decode(buffer.subarray(0, Math.min(count, ANSWER.length)));
      if (answer !== ANSWER) tally.failures.push(`${NAME}: ${answer} to ${request}`);
      tally.faults.set(NAME, (tally.faults.get(NAME) ?? 0) + 1);
    } finally {
      socket.close();
    }
    await new Promise((resolve) => setTimeout(resolve, random.below(10)));
  }
}
