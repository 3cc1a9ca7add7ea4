/** An inviter that can send any response. */

import { Server } from "@degu/degu/server";
import { encodeLine } from "@degu/internal/device/pairing/invitation_line.ts";
import { parseKeyHash, readAuthorityDer } from "@degu/internal/device/identity/authority.ts";
import { serveNodeTls } from "@degu/testing/tls_endpoints.ts";
import type { HostAddress } from "@degu/degu/base";
import type * as tls from "node:tls";
import { base64url, messageOf, type PairingDevice } from "./pairing.ts";

/** Returns the response to a request, by its text and the number of earlier connections. */
type Responder = (request: string, socket: tls.TLSSocket, count: number) => string | null;

/** The ports and the certificate of an inviter. */
export interface InviterOptions {
  readonly protocols?: readonly string[];
  readonly identity?: { readonly cert: string; readonly key: string };
  /** The authority of the plain port and of the line, in DER. */
  readonly authority?: Uint8Array;
  /** The status of the response with the authority, at the plain port. */
  readonly status?: number;
}

/** Starts a server with the responses of the test, and makes a line that leads to it. */
export async function startInviter(
  device: PairingDevice,
  respond: Responder,
  {
    protocols = ["degu-pair/2"],
    identity = device.identity,
    authority = device.authority.raw,
    status = 200,
  }: InviterOptions = {},
): Promise<{ line: string; requests: string[] } & AsyncDisposable> {
  const requests: string[] = [];
  let count = 0;
  const names = protocols.length === 0 ? {} : { ALPNProtocols: [...protocols] };
  const server = await serveNodeTls({ ...identity, ...names }, (socket) => {
    const index = count++;
    let text = "";
    socket.on("data", (data: Uint8Array) => {
      text += new TextDecoder().decode(data);
      const [head = "", body = ""] = text.split("\r\n\r\n");
      const length = /^content-length: (\d+)$/m.exec(head)?.[1];
      if (length === undefined || body.length < Number(length)) return;
      requests.push(text);
      const answered = respond(text, socket, index);
      if (answered !== null) socket.write(answered);
    });
  });
  const plainServer = new Server(["127.0.0.1", 0], () => [status, "Status", {}, authority]);
  plainServer.serveForever();
  const [, plainPort] = plainServer.address as HostAddress;
  const line = encodeLine({
    keyHash: parseKeyHash(readAuthorityDer(authority).publicKey256),
    addresses: [[...server.address, plainPort]],
    secret: new Uint8Array(16).fill(1),
    expires: new Date(Date.now() + 60_000),
  });
  const dispose = async () => {
    await plainServer[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  };
  return { line, requests, [Symbol.asyncDispose]: dispose };
}

/** The value in the response of an inviter. */
export const VALUE: string = base64url(new Uint8Array(16).fill(2));

/** Formats a response with a JSON or text body. */
export function formatAnswer(fields: Record<string, unknown> | string, status = "200 OK"): string {
  return messageOf(`HTTP/1.1 ${status}`, fields);
}

export const DONE = "HTTP/1.1 204 No Content\r\n\r\n";
