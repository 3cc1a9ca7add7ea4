/**
 * Random graphs of certificates, and each odd form of a certificate at each place of a path:
 * whether a peer is accepted, by which authority, and the code of its refusal. The answers in
 * `certificate_graphs.txt` were compared with those of `openssl verify`. A change of an answer is a
 * change of what docs/security.md promises.
 */
import { assertEquals } from "@std/assert";
import { TlsError } from "@degu/degu/base";
import { Authorities, readCertificate } from "@degu/internal/net/tls/authority.ts";
import { checkCertificate } from "@degu/internal/net/tls/peer.ts";
import { readAuthorities } from "@degu/internal/net/tls/pem.ts";
import { formatPem } from "@degu/internal/net/tls/certificate.ts";
import {
  type Graph,
  KeyRing,
  makeCertificate,
  makeGraph,
  ODDITIES,
} from "@degu/testing/certificate_graphs.ts";

const GRAPHS = 3200;
const GRAPHS_PER_LINE = 40;

/** The letter of a refusal, by the code of a `TlsError`. */
const LETTERS: Readonly<Record<string, string>> = {
  UNTRUSTED: "u",
  WRONG_PURPOSE: "p",
  EXPIRED: "e",
  NOT_YET_VALID: "n",
  WEAK: "w",
};

/** Returns the letter of a refusal: `r` if a certificate can't be read or trusted. */
function letterOf(error: unknown): string {
  if (error instanceof TlsError) return LETTERS[error.code]!;
  if (error instanceof RangeError) return "r";
  throw error;
}

type Peer = Pick<Graph, "role" | "leaf" | "intermediates" | "trusted">;

/**
 * Returns the letter of each certificate that can't be trusted, or `-`, and then the index of the
 * peer's authority among the trusted certificates, or the letter of its refusal.
 */
function judge({ role, leaf, intermediates, trusted }: Peer): string {
  const readOne = (der: Uint8Array) => readAuthorities({ ca: formatPem(der) }).authorities;
  const usable: Uint8Array[] = [];
  let answer = "";
  for (const der of trusted) {
    try {
      readOne(der);
      usable.push(der);
      answer += "-";
    } catch (error) {
      answer += letterOf(error);
    }
  }
  try {
    const authorities = new Authorities(usable.flatMap(readOne));
    const certificate = readCertificate(leaf);
    checkCertificate(role, certificate);
    const authority = authorities.findAuthority(certificate, intermediates, `${role}Auth`);
    const { raw } = authority ?? {};
    const index = trusted.findIndex((der) => raw !== undefined && der.toHex() === raw.toHex());
    return answer + (raw === undefined ? LETTERS.UNTRUSTED : index);
  } catch (error) {
    return answer + letterOf(error);
  }
}

const recordedLines = (await Deno.readTextFile(new URL("certificate_graphs.txt", import.meta.url)))
  .trimEnd().split("\n");

Deno.test("3,200 random graphs of certificates are judged as recorded", () => {
  const keyRing = new KeyRing();
  for (let start = 0; start < GRAPHS; start += GRAPHS_PER_LINE) {
    const answers = Array.from(
      { length: GRAPHS_PER_LINE },
      (_, index) => judge(makeGraph(start + index, keyRing)),
    );
    const recorded = recordedLines[start / GRAPHS_PER_LINE]!;
    assertEquals(answers.join(" "), recorded, `graphs from ${start}`);
  }
});

Deno.test("each odd form of a certificate, at each place of a path, is judged as recorded", () => {
  const keyRing = new KeyRing();
  const [root, intermediate, leaf] = ["root", "intermediate", "leaf"].map((name, index) => ({
    name,
    keys: keyRing.get("P-256", index),
  }));
  const recorded = recordedLines.slice(GRAPHS / GRAPHS_PER_LINE);
  const judged = Object.keys(ODDITIES).map((name) => {
    const oddities = [name];
    const rootDer = makeCertificate({ ...root!, isAuthority: true });
    const oddRoot = makeCertificate({ ...root!, isAuthority: true, oddities });
    const signed = { issuer: root!, isAuthority: true };
    const between = makeCertificate({ ...intermediate!, ...signed });
    const oddBetween = makeCertificate({ ...intermediate!, ...signed, oddities });
    const issueLeaf = (issuer = root!, ...names: string[]) =>
      makeCertificate({ ...leaf!, issuer, isAuthority: null, oddities: names });
    const below = issueLeaf(intermediate!);
    const answers = (["client", "server"] as const).flatMap((role) => [
      judge({ role, leaf: issueLeaf(root!, name), intermediates: [], trusted: [rootDer] }),
      judge({ role, leaf: below, intermediates: [oddBetween], trusted: [rootDer] }),
      judge({ role, leaf: below, intermediates: [between], trusted: [oddRoot] }),
    ]);
    return `${answers.join(" ")} ${name}`;
  });
  assertEquals(judged, recorded);
});
