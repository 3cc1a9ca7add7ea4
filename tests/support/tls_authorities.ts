/**
 * Which authority a certificate was accepted for.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import type { PeerAuthority, PeerCertificate } from "@degu/degu/base";
import { startTls } from "./tls_endpoints.ts";
import type { Issued } from "./tls_openssl.ts";

/** What a certificate says by node:crypto. */
async function readX509({ certFile }: Issued): Promise<X509Certificate> {
  return new X509Certificate(await Deno.readTextFile(certFile));
}

/** A certificate as DER. */
export async function readDer(issued: Issued): Promise<Uint8Array> {
  return new Uint8Array((await readX509(issued)).raw);
}

/** Certificates as DER. */
export async function readDers(certificates: readonly Issued[]): Promise<Uint8Array[]> {
  return await Promise.all(certificates.map(readDer));
}

/** Certificates as PEM text, one after the other. */
export async function readPem(...certificates: readonly Issued[]): Promise<string> {
  const texts = await Promise.all(certificates.map(({ certFile }) => Deno.readTextFile(certFile)));
  return texts.join("");
}

/** The SHA-256 fingerprint of the key of a certificate, as sessions show it. */
export async function publicKey256Of(issued: Issued): Promise<string> {
  const spki = (await readX509(issued)).publicKey.export({ type: "spki", format: "der" });
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", Uint8Array.from(spki)));
  return digest.toHex().toUpperCase().replaceAll(/(..)(?!$)/g, "$1:");
}

/** Asserts that this is the authority that a session shows. */
export async function assertAuthority(
  actual: PeerAuthority | null | undefined,
  expected: Issued,
): Promise<void> {
  const certificate = await readX509(expected);
  assertEquals(actual?.fingerprint256, certificate.fingerprint256);
  assertEquals(actual?.subject, certificate.subject);
  assertEquals(actual?.raw, new Uint8Array(certificate.raw));
  assertEquals(actual?.publicKey256, await publicKey256Of(expected));
}

/** A certificate with its chain and its key. */
export async function textsOf(own: Issued, between: readonly Issued[] = []) {
  return { cert: await readPem(own, ...between), key: await Deno.readTextFile(own.keyFile) };
}

/** A certificate that comes with its chain, as a peer shows it. */
export interface Shown {
  readonly own: Issued;
  readonly between?: readonly Issued[];
}

/** Has a server and a client of it show these to one another; returns what each was told. */
export async function meet(
  { server, client, clientAuthorities, serverAuthorities }: {
    readonly server: Shown;
    readonly client: Shown;
    readonly clientAuthorities: readonly Issued[];
    readonly serverAuthorities: readonly Issued[];
  },
): Promise<{ server: PeerCertificate; client: PeerCertificate }> {
  const ca = (authorities: readonly Issued[]) =>
    Promise.all(authorities.map((each) => readPem(each)));
  const seen: (PeerCertificate | null)[] = [];
  await using endpoint = await startTls({
    serverSslconfig: {
      ...await textsOf(server.own, server.between),
      ca: await ca(clientAuthorities),
    },
    clientSslconfig: {
      ...await textsOf(client.own, client.between),
      ca: await ca(serverAuthorities),
      checkHostname: false,
    },
  }, (_request, session) => {
    seen.push(session.peerCertificate);
    return [204, "No Content", {}, null];
  });
  using conn = await endpoint.client.connect();
  assertEquals((await conn.get("/")).status, 204);
  return { server: conn.sock.peerCertificate!, client: seen[0]! };
}
