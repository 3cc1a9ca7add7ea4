/** An inviter that can send any answer. */

import * as tls from "node:tls";
import { encodeLine } from "@degu/internal/device/invitation_line.ts";
import { base64url, type PairingDevice } from "./pairing.ts";

/** How the connections of an inviter are answered, one after the other; the text of a request is given. */
export type Answering = (request: string, socket: tls.TLSSocket, count: number) => string | null;

/** How an inviter listens. */
export interface InviterOptions {
  readonly protocols?: readonly string[];
  readonly identity?: { readonly cert: string; readonly key: string };
  /** What the line has, in DER. */
  readonly authority?: Uint8Array;
}

/** A server that answers as it likes, and a line that leads to it. */
export async function startInviter(
  device: PairingDevice,
  answer: Answering,
  { protocols = ["degu-pair/1"], identity = device.identity, authority = device.authority.der }:
    InviterOptions = {},
): Promise<{ line: string; requests: string[] } & AsyncDisposable> {
  const requests: string[] = [];
  const sockets = new Set<tls.TLSSocket>();
  const server = tls.createServer({
    ...identity,
    ...(protocols.length === 0 ? {} : { ALPNProtocols: [...protocols] }),
  });
  server.on("tlsClientError", () => {});
  let count = 0;
  server.on("secureConnection", (socket) => {
    const index = count++;
    sockets.add(socket);
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (data: Uint8Array) => {
      text += new TextDecoder().decode(data);
      const [head = "", body = ""] = text.split("\r\n\r\n");
      const length = /^content-length: (\d+)$/m.exec(head)?.[1];
      if (length === undefined || body.length < Number(length)) return;
      requests.push(text);
      const answered = answer(text, socket, index);
      if (answered !== null) socket.write(answered);
    });
  });
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  const { port } = server.address() as { port: number };
  const line = encodeLine({
    authority,
    addresses: [["127.0.0.1", port]],
    secret: new Uint8Array(16).fill(1),
    expires: new Date(Date.now() + 60_000),
  });
  return {
    line,
    requests,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      await closed.promise;
    },
  };
}

/** What an inviter gives out that is good once. */
export const VALUE: string = base64url(new Uint8Array(16).fill(2));

/** An answer with JSON, or a text, as its body. */
export function answerOf(fields: Record<string, unknown> | string, status = "200 OK"): string {
  const text = typeof fields === "string" ? fields : JSON.stringify(fields);
  const { length } = new TextEncoder().encode(text);
  return `HTTP/1.1 ${status}\r\ncontent-length: ${length}\r\n\r\n${text}`;
}

/** The last answer. */
export const DONE = "HTTP/1.1 204 No Content\r\n\r\n";
