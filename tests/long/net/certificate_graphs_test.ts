/**
 * A peer is accepted if and only if a path of signatures leads from its certificate to a trusted
 * authority, within the limits of each certificate of the path. These tests ask this for random
 * graphs of certificates, and for each odd form of a certificate at each place of a path.
 *
 * `certificate_graphs.txt` has the answers, which were compared with those of `openssl verify`, as
 * `judge` returns them, except that a constructed or universal name is refused, whatever openssl
 * reads. A change of an answer is a change of what docs/security.md promises.
 */
import { assertEquals } from "@std/assert";
import { TlsError } from "@degu/degu/base";
import { Authorities, readCertificate } from "@degu/internal/net/tls/authority.ts";
import { checkCertificate } from "@degu/internal/net/tls/peer.ts";
import { readAuthorities } from "@degu/internal/net/tls/pem.ts";
import { formatPem } from "@degu/internal/net/tls/certificate.ts";
import {
  type KeyKind,
  type KeyPair,
  KeyRing,
  makeCertificate,
  ODDITIES,
  type Purpose,
  type SignatureKind,
} from "../../net/tls/certificate_graphs.ts";
import { Random } from "@degu/testing/random.ts";

// A graph of certificates: authorities that sign each other, namesakes, every limit of an authority.
// A number determines a graph, except for its keys.

interface Graph {
  /** Of the peer that is verified. */
  readonly role: "client" | "server";
  readonly leaf: Uint8Array<ArrayBuffer>;
  readonly leafKeys: KeyPair;
  /** The certificates that the peer presents after its leaf. */
  readonly intermediates: readonly Uint8Array<ArrayBuffer>[];
  /** In the order of the configuration. */
  readonly trusted: readonly Uint8Array<ArrayBuffer>[];
}

interface Entity {
  readonly name: string;
  readonly keys: KeyPair;
}

const COMMON_KINDS: readonly KeyKind[] = ["P-256", "P-256", "P-256", "Ed25519", "Ed25519"];
const OTHER_KINDS: readonly KeyKind[] = [
  ...["P-384", "P-521", "RSA-2048", "RSA-2048", "RSA-4096"],
  ...["secp256k1", "RSA-1024", "RSA-4098", "RSA-PSS"],
] as KeyKind[];
const SIGNATURES: readonly SignatureKind[] = ["sha256", "sha384", "sha512", "pss256", "pss384"];
const AUTHORITY_PURPOSES: readonly (readonly Purpose[])[] = [
  ["clientAuth"],
  ["serverAuth"],
  ["clientAuth", "serverAuth"],
  ["any"],
  ["codeSigning"],
];
const ODDITY_NAMES = Object.keys(ODDITIES);

/** Makes the graph of a number. */
function makeGraph(seed: number, keyRing: KeyRing): Graph {
  const random = new Random(seed);
  const role = random.pick(["client", "server"] as const);
  // Some graphs have few limits, so that a peer is accepted after a long path.
  const oddness = random.pick([0, 0.03, 0.1]);
  const names = ["a", "b", "c", "d", "e"].slice(0, random.pick([1, 3, 5, 5, 5]));
  const makeEntity = (_: unknown, index: number): Entity => {
    const kind = random.chance(0.8) ? random.pick(COMMON_KINDS) : random.pick(OTHER_KINDS);
    return {
      name: `${random.pick(names)}${random.chance(0.7) ? index : ""}`,
      keys: keyRing.get(kind, index),
    };
  };
  const makeOddities = () => random.chance(oddness) ? [random.pick(ODDITY_NAMES)] : [];
  const pickSignature = () => random.chance(0.8) ? "sha256" : random.pick(SIGNATURES);
  const makeAuthority = (entity: Entity, issuer: Entity): Uint8Array<ArrayBuffer> =>
    makeCertificate({
      ...entity,
      issuer,
      signature: random.chance(oddness / 4) ? "sha1" : pickSignature(),
      isAuthority: random.chance(oddness) ? random.pick([false, null]) : true,
      pathLength: random.chance(0.25) ? random.pick([0, 0, 1, 1, 2, 3]) : undefined,
      purposes: random.chance(oddness * 2) ? random.pick(AUTHORITY_PURPOSES) : undefined,
      usage: random.chance(0.5) ? random.chance(oddness) ? "0780" : "0106" : undefined,
      valid: random.chance(oddness) ? random.pick([[-2, -1], [1, 2]] as const) : undefined,
      hasKeyIds: random.chance(0.5),
      oddities: makeOddities(),
    });
  const roots = Array.from({ length: 1 + random.integer(3) }, makeEntity);
  const others = Array.from({ length: random.integer(6) }, (_, index) => makeEntity(_, index + 3));
  const rootCertificates = roots.map((root) => makeAuthority(root, root));
  const authorities: Uint8Array<ArrayBuffer>[] = [];
  const reachable = [...roots];
  for (const entity of others) {
    // An authority has up to three certificates: of authorities before it, or of any.
    const issuerCount = random.pick([1, 1, 2, 3]);
    for (let i = 0; i < issuerCount; i++) {
      const issuer = random.chance(0.8)
        ? random.pick(reachable.slice(-3))
        : random.pick([...roots, ...others]);
      authorities.push(makeAuthority(entity, issuer));
    }
    reachable.push(entity);
  }
  if (random.chance(0.3)) {
    authorities.push(makeAuthority(random.pick(roots), random.pick([...roots, ...others])));
  }
  const leafEntity = {
    name: random.chance(0.05) ? random.pick(names) : "leaf",
    keys: keyRing.get(random.chance(0.9) ? "P-256" : random.pick(OTHER_KINDS), 99),
  };
  const leaf = makeCertificate({
    ...leafEntity,
    issuer: random.pick([...reachable.slice(-2), random.pick(reachable)]),
    signature: pickSignature(),
    isAuthority: random.chance(oddness) ? true : random.pick([false, null]),
    purposes: random.chance(0.3)
      ? random.chance(oddness) ? random.pick(AUTHORITY_PURPOSES) : ["clientAuth", "serverAuth"]
      : undefined,
    usage: random.chance(0.5) ? random.chance(oddness) ? "0106" : "0780" : undefined,
    valid: random.chance(oddness) ? random.pick([[-2, -1], [1, 2]] as const) : undefined,
    hasKeyIds: random.chance(0.5),
    oddities: makeOddities(),
  });
  const presented = random.shuffle(authorities).filter(() => random.chance(0.95));
  if (random.chance(0.2)) presented.push(random.pick(rootCertificates));
  if (random.chance(0.1)) presented.unshift(random.pick([...presented, leaf]));
  const candidates = random.shuffle([
    ...rootCertificates,
    ...random.shuffle(authorities).slice(0, 1),
  ]);
  const trusted = candidates.slice(0, 1 + random.integer(candidates.length));
  return { role, leaf, leafKeys: leafEntity.keys, intermediates: presented, trusted };
}

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

Deno.test("in 3,200 random graphs of certificates, a peer has the authority, or the refusal, that was compared with openssl", () => {
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

Deno.test("a certificate in an odd form has the answer that was compared with openssl, as leaf, intermediate and authority", () => {
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
