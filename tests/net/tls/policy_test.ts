/** The TLS policy: what is offered, and what is refused even if it was negotiated. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { getCiphers, type TLSSocket } from "node:tls";
import { TlsError } from "@degu/degu/base";
import { checkNegotiated, CIPHERS, LIBRARY_OPTIONS } from "@degu/internal/net/tls/policy.ts";

/** What a handshake has led to; no library of today leads to most of it. */
function negotiated(version: string | null, name: string | undefined): TLSSocket {
  return { getProtocol: () => version, getCipher: () => ({ name }) } as unknown as TLSSocket;
}

Deno.test("every suite has forward secrecy and authenticated encryption (RFC 9325 §4.2)", () => {
  for (const name of CIPHERS) {
    assert(/^(TLS_|ECDHE-(ECDSA|RSA)-)/.test(name), name);
    assert(/(GCM[-_]SHA(256|384)|CHACHA20[-_]POLY1305(_SHA256)?)$/.test(name), name);
  }
  assertEquals(new Set(CIPHERS).size, CIPHERS.length);
});

Deno.test("the policy is passed to the library, consists of suites it knows, and can't be changed", () => {
  assertEquals(LIBRARY_OPTIONS.ciphers.split(":"), [...CIPHERS]);
  const { minVersion, maxVersion } = LIBRARY_OPTIONS;
  assertEquals([minVersion, maxVersion], ["TLSv1.2", "TLSv1.3"]);
  const known = getCiphers();
  for (const name of CIPHERS) assert(known.includes(name.toLowerCase()), name);
  assert(Object.isFrozen(CIPHERS) && Object.isFrozen(LIBRARY_OPTIONS));
});

Deno.test("anything outside the policy is refused, whatever the library accepts", () => {
  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    for (const name of CIPHERS) checkNegotiated(negotiated(version, name));
    for (const name of ["AES256-SHA", "ECDHE-RSA-AES128-SHA", "NULL", "", undefined, "TLS_"]) {
      const error = assertThrows(() => checkNegotiated(negotiated(version, name)), TlsError);
      assertEquals(error.code, "POLICY");
    }
  }
  for (const version of ["TLSv1.1", "TLSv1", "SSLv3", "TLSv1.4", "", null, "unknown"]) {
    const refused = () => checkNegotiated(negotiated(version, CIPHERS[0]));
    assertEquals(assertThrows(refused, TlsError).code, "POLICY");
  }
});
