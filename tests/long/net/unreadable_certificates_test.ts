/**
 * Random changes of the structure of certificates, compared with the TLS library: a client of Deno
 * 2.9.6 doesn't verify who has signed a handshake if the library can't read the certificate of the
 * server, so Degu must refuse every such certificate.
 */
import { assert, assertEquals } from "@std/assert";
import { TlsError } from "@degu/degu/base";
import { formatPem, parseCertificate } from "@degu/internal/net/tls/certificate.ts";
import { checkCertificate } from "@degu/internal/net/tls/peer.ts";
import { encode, KeyRing, makeCertificate, ODDITIES } from "../../net/tls/certificate_graphs.ts";
import { Random } from "@degu/testing/random.ts";

const CERTIFICATES = 6000;

/** An element of DER; one whose content isn't DER has no children. */
interface Element {
  tag: number;
  content: Uint8Array;
  children: Element[] | null;
}

function readElements(bytes: Uint8Array): Element[] | null {
  const elements: Element[] = [];
  for (let position = 0; position < bytes.length;) {
    const tag = bytes[position++]!;
    let length = bytes[position++] ?? 0x80;
    if (length >= 0x80) {
      const end = position + (length & 0x7f);
      if (end === position || end > position + 2) return null;
      for (length = 0; position < end; position++) length = length * 256 + bytes[position]!;
    }
    const content = bytes.slice(position, position += length);
    if (position > bytes.length) return null;
    // The value of an extension is DER in an octet string.
    const children = tag === 4 || (tag & 0x20) !== 0 ? readElements(content) : null;
    elements.push({ tag, content, children });
  }
  return elements;
}

function encodeElement({ tag, content, children }: Element): Uint8Array {
  return encode(tag, ...children?.map(encodeElement) ?? [content]);
}

/** Lists the elements below an element, each with its parent's children. */
function listBelow({ children }: Element): [Element, siblings: Element[]][] {
  return (children ?? []).flatMap((
    child,
  ): [Element, Element[]][] => [[child, children!], ...listBelow(child)]);
}

const TAGS = [1, 2, 3, 4, 5, 6, 12, 19, 22, 23, 24, 48, 49, 128, 129, 130, 131, 134, 135, 136]
  .concat([160, 161, 162, 163, 164]);
const BYTES = [0, 1, 0x7f, 0x80, 0xff];

function change(root: Element, random: Random): void {
  const elements = listBelow(root);
  if (elements.length === 0) return;
  const [element, siblings] = random.pick(elements);
  const index = siblings.indexOf(element);
  const changes = [
    () => element.tag = random.pick(TAGS),
    () => siblings.splice(index, 1),
    () => siblings.splice(index, 0, structuredClone(element)),
    () => siblings.splice(index, 0, structuredClone(random.pick(elements)[0])),
    () => {
      const length = random.pick([0, 1, 2, 3, 5, 20, 130]);
      element.content = Uint8Array.from({ length }, () => random.pick(BYTES));
      element.children = null;
    },
  ];
  random.pick(changes)();
}

const keyRing = new KeyRing();
const leaf = { name: "leaf", keys: keyRing.get("P-256", 0) };
const issuer = { name: "root", keys: keyRing.get("P-256", 1) };
/** The key of no certificate: the library refuses it for each certificate that it reads. */
const { privateKey } = keyRing.get("P-256", 2);
const key = `${privateKey.export({ type: "pkcs8", format: "pem" })}`;

function isReadByLibrary(der: Uint8Array): boolean {
  try {
    Deno.createHttpClient({ cert: formatPem(der), key }).close();
  } catch (error) {
    return (error as Error).message.includes("KeyMismatch");
  }
  throw new Error("Deno doesn't compare a certificate with its key");
}

function isAccepted(der: Uint8Array): boolean {
  try {
    checkCertificate("server", parseCertificate(der));
    return true;
  } catch (error) {
    if (error instanceof RangeError || error instanceof TlsError) return false;
    throw error;
  }
}

Deno.test("of 6,000 changed certificates, the TLS library reads each that is accepted", () => {
  const random = new Random(1);
  let acceptedCount = 0;
  const names = Object.keys(ODDITIES).filter((name) => !/half|nothing/.test(name));
  for (let i = 0; i < CERTIFICATES; i++) {
    const oddities = Array.from(
      { length: random.integer(3) },
      () => random.chance(0.25) ? "name constraints" : random.pick(names),
    );
    let der: Uint8Array = makeCertificate({
      ...leaf,
      issuer,
      isAuthority: random.pick([null, false]),
      purposes: random.chance(0.5) ? ["clientAuth", "serverAuth"] : undefined,
      usage: random.chance(0.5) ? "0780" : undefined,
      hasKeyIds: random.chance(0.5),
      oddities,
    });
    // Change nameConstraints to cRLDistributionPoints, which are also a sequence.
    if (random.chance(0.3)) der = Uint8Array.fromHex(der.toHex().replace("551d1e", "551d1f"));
    const [root] = readElements(der) ?? [];
    if (root === undefined) continue;
    for (let count = random.integer(3); count > 0; count--) change(root, random);
    const changed = encodeElement(root);
    if (!isAccepted(changed)) continue;
    acceptedCount++;
    assert(isReadByLibrary(changed), changed.toHex());
  }
  assert(acceptedCount > 300, `only ${acceptedCount} are accepted`);
  assertEquals(isReadByLibrary(makeCertificate({ ...leaf, issuer, isAuthority: false })), true);
});
