/** Which authority signed for a peer, with certificates of the openssl program. */
import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { X509Certificate } from "node:crypto";
import type { PeerAuthority, PeerCertificate } from "@degu/degu/base";
import { buildClientSslctx, SSLClient } from "@degu/degu/client";
import { buildServerSslctx, type ServerSslconfig } from "@degu/degu/server";
import { Authorities, readCertificate } from "@degu/internal/net/tls/authority.ts";
import { createAuthority } from "@degu/internal/identity/certificates.ts";
import { derOf, publicKey256 } from "@degu/testing/certificates.ts";
import { sharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { type Issued, KEY, opensslTest, timeFromNow } from "@degu/testing/tls_openssl.ts";

const pki = await sharedPki();

/** Certificates as DER. */
async function readDers(certificates: readonly Issued[]): Promise<Uint8Array[]> {
  return await Promise.all(certificates.map(async (each) => derOf(await readPem(each))));
}

/** Certificates as PEM text, one after the other. */
async function readPem(...certificates: readonly Issued[]): Promise<string> {
  const texts = await Promise.all(certificates.map(({ certFile }) => Deno.readTextFile(certFile)));
  return texts.join("");
}

/** Asserts that this is the authority that a session shows. */
async function assertAuthority(
  actual: PeerAuthority | null | undefined,
  expected: Issued,
): Promise<void> {
  const certificate = new X509Certificate(await readPem(expected));
  assertEquals(actual?.fingerprint256, certificate.fingerprint256);
  assertEquals(actual?.subject, certificate.subject);
  assertEquals(actual?.raw, new Uint8Array(certificate.raw));
  assertEquals(actual?.publicKey256, publicKey256(await readPem(expected)));
}

/** A certificate with its chain and its key. */
async function textsOf(own: Issued, between: readonly Issued[] = []) {
  return { cert: await readPem(own, ...between), key: await Deno.readTextFile(own.keyFile) };
}

/** A certificate that comes with its chain, as a peer shows it. */
interface Shown {
  readonly own: Issued;
  readonly between?: readonly Issued[];
}

/** Has a server and a client of it show these to one another; returns what each was told. */
async function meet(
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

/** The trusted certificate that vouched for a chain. */
function find(
  chain: readonly Uint8Array[],
  trusted: readonly Uint8Array[],
  purpose?: "clientAuth" | "serverAuth",
) {
  const [leaf, ...between] = chain;
  return new Authorities(trusted.map(readCertificate))
    .find(readCertificate(leaf!), between, purpose);
}

opensslTest(
  "both ends report the authority that signed for the other, with a stable public key",
  async (pki) => {
    const authority = await pki.authority("authority");
    const other = await pki.authority("other");
    const client = await pki.client("client", { issuer: authority });
    const server = await pki.server("server", { issuer: other });
    const renewed = await pki.client("renewed", { issuer: authority, keyOf: client });
    const trust = { clientAuthorities: [other, authority], serverAuthorities: [authority, other] };
    const first = await meet({ client: { own: client }, server: { own: server }, ...trust });
    await assertAuthority(first.client.authority, authority);
    await assertAuthority(first.server.authority, other);
    assertEquals(first.client.publicKey256, publicKey256(await readPem(client)));
    assertEquals(first.server.publicKey256, publicKey256(await readPem(server)));
    assert(Object.isFrozen(first.client.authority));
    const second = await meet({ client: { own: renewed }, server: { own: server }, ...trust });
    assertEquals(second.client.publicKey256, first.client.publicKey256);
    assertNotEquals(second.client.fingerprint256, first.client.fingerprint256);
    await assertAuthority(second.client.authority, authority);
  },
);

Deno.test("changes to the authority certificate of one session do not affect another", async () => {
  await using endpoint = await startTls(pki, (_request, { peerCertificate }) => {
    const raw = peerCertificate!.authority!.raw;
    const told = raw.toHex();
    raw.fill(0);
    return [200, "OK", {}, new TextEncoder().encode(told)];
  });
  const expected = new X509Certificate(await Deno.readTextFile(pki.serverSslconfig.caFile!));
  for (let i = 0; i < 2; i++) {
    const { body } = await endpoint.client.request("GET", "/");
    assertEquals(await body!.text(), new Uint8Array(expected.raw).toHex());
  }
});

opensslTest(
  "the authority is found by signatures: names and extra certificates do not count",
  async (pki, t) => {
    const ownAuthority = await pki.authority("server_authority");
    const own = await pki.server("server", { issuer: ownAuthority });
    const one = await pki.authority("one", { commonName: "same" });
    const two = await pki.authority("two", { commonName: "same" });
    const three = await pki.authority("three");
    const sameKey = await pki.authority("same_key", { commonName: "same", keyOf: two });
    const between = await pki.authority("between", { issuer: one });
    const cross = { commonName: "between", keyOf: between };
    const crossed = await pki.authority("crossed", { issuer: three, ...cross });
    const old = await pki.authority("old", { issuer: two, ...cross, to: timeFromNow(-1) });
    const ofTwo = await pki.client("of_two", { issuer: two });
    const below = await pki.client("below", { issuer: between });
    const purpose = "extendedKeyUsage=clientAuth";
    const unhinted = await pki.client("unhinted", {
      issuer: two,
      extensions: [purpose, "authorityKeyIdentifier=none"],
    });
    // [0] of the extension is the identifier of the key, here that of somebody else.
    const [, keyId] = /X509v3 Subject Key Identifier:\s+([0-9A-F:]{59})\n/
      .exec(await pki.show(one)) ?? [];
    const misleading = await pki.client("misleading", {
      issuer: two,
      extensions: [purpose, `2.5.29.35=DER:30:16:80:14:${keyId}`],
    });
    const rows: readonly [string, Shown, readonly Issued[], Issued][] = [
      ["two of one name", { own: ofTwo }, [one, two], two],
      ["two of one name, turned round", { own: ofTwo }, [two, one], two],
      ["no hint at the key", { own: unhinted }, [one, two], two],
      ["no hint at the key, turned round", { own: unhinted }, [two, one], two],
      ["a hint at another's key", { own: misleading }, [one, two], two],
      ["a hint at another's key, turned round", { own: misleading }, [two, one], two],
      ["the other is sent along", { own: ofTwo, between: [one] }, [one, two], two],
      ["one key in two certificates: the first", { own: ofTwo }, [one, sameKey, two], sameKey],
      ["one key in two, turned round", { own: ofTwo }, [two, sameKey], two],
      ["an intermediate", { own: below, between: [between] }, [two, one], one],
      ["among strangers", { own: below, between: [two, own, between, one] }, [three, one], one],
      ["two ways: the first", { own: below, between: [between, crossed] }, [three, one], three],
      ["two ways, turned round", { own: below, between: [between, crossed] }, [one, three], one],
      ["a way that has expired", { own: below, between: [old, between] }, [two, one], one],
      ["the shortest", { own: below, between: [between] }, [one, between], between],
    ];
    for (const [name, client, clientAuthorities, expected] of rows) {
      await t.step(name, async () => {
        const trust = { clientAuthorities, serverAuthorities: [ownAuthority] };
        const seen = await meet({ server: { own }, client, ...trust });
        await assertAuthority(seen.client.authority, expected);
      });
    }
  },
);

opensslTest(
  "every kind of signature that the TLS library accepts is recognized",
  async (pki, t) => {
    const pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"];
    const kinds: readonly [string, readonly string[], readonly string[]][] = [
      ["ECDSA P-256", KEY.p256, []],
      ["ECDSA P-256 with SHA-512", KEY.p256, ["-sha512"]],
      ["ECDSA P-384 with SHA-256", KEY.p384, []],
      ["ECDSA P-384 with SHA-384", KEY.p384, ["-sha384"]],
      ["ECDSA P-521 with SHA-512", KEY.p521, ["-sha512"]],
      ["Ed25519", KEY.ed25519, []],
      ["RSA", KEY.rsa2048, []],
      ["RSA with SHA-512", KEY.rsa2048, ["-sha512"]],
      ["RSA-PSS", KEY.rsa2048, pss],
      ["RSA-PSS with SHA-384", KEY.rsa2048, [...pss, "-sha384"]],
    ];
    const serverAuthority = await pki.authority("server_authority");
    const server = { own: await pki.server("server", { issuer: serverAuthority }) };
    // An RSA key takes as long as twenty certificates.
    const made = new Map<readonly string[], Issued>();
    for (const [index, [name, key, signing]] of kinds.entries()) {
      await t.step(name, async () => {
        // What signs for others with P-521 has signed itself with SHA-512, too.
        const keyOf = made.get(key);
        const issuer = await pki.authority(`issuer${index}`, {
          ...keyOf === undefined ? { key } : { keyOf },
          signing: key === KEY.p521 ? signing : [],
        });
        made.set(key, issuer);
        const own = await pki.client(`client${index}`, { issuer, signing });
        const clientAuthorities = [serverAuthority, issuer];
        const trust = { clientAuthorities, serverAuthorities: [serverAuthority] };
        const seen = await meet({ server, client: { own }, ...trust });
        await assertAuthority(seen.client.authority, issuer);
      });
    }
  },
);

opensslTest(
  "P-521 with SHA-256 can't be verified: its authority is refused, and who has only that",
  async (pki, t) => {
    const key = KEY.p521;
    const serverAuthority = await pki.authority("server_authority");
    const own = await pki.server("server", { issuer: serverAuthority });
    const advice =
      "signed with SHA-256 by a key on P-521, which can't be verified: sign it with SHA-512";
    await t.step("as an authority", async () => {
      const refused = await pki.authority("refused", { key });
      assertThrows(
        () => buildServerSslctx({ ...own, caFile: refused.certFile }),
        RangeError,
        advice,
      );
      assertThrows(() => buildClientSslctx({ caFile: refused.certFile }), RangeError, advice);
    });
    const authority = await pki.authority("authority", { key, signing: ["-sha512"] });
    await t.step("as a client's signature", async () => {
      const client = await pki.client("client", { issuer: authority, signing: ["-sha256"] });
      const clientSslconfig = { caFile: serverAuthority.certFile, checkHostname: false, ...client };
      assertStringIncludes(buildClientSslctx(clientSslconfig).warnings.join(), advice);
      await using endpoint = await startTls(
        { serverSslconfig: { ...own, caFile: authority.certFile }, clientSslconfig },
        () => [204, "No Content", {}, null],
      );
      await assertRejects(() => endpoint.client.request("GET", "/"));
      const [line] = await endpoint.logger.waitFor("info");
      assertStringIncludes(line!, `UNTRUSTED: the client's certificate is ${advice}`);
    });
  },
);

opensslTest(
  "an authority with rules that are not checked is refused, and no path leads over one",
  async (pki, t) => {
    const one = await pki.authority("one");
    const two = await pki.authority("two");
    const own = await pki.server("server", { issuer: one });
    const rules = [
      ["nameConstraints", "nameConstraints=critical,permitted;DNS:example.com"],
      ["nameConstraints", "nameConstraints=permitted;DNS:example.com"],
      ["1.2.3.4", "1.2.3.4=critical,ASN1:NULL"],
    ] as const;
    for (const [index, [extension, rule]] of rules.entries()) {
      const name = `ruled${index}`;
      const ruled = { extensions: [rule], commonName: name };
      const between = await pki.authority(name, { issuer: one, ...ruled });
      const keyOf = between;
      const crossed = await pki.authority(`${name}2`, { issuer: two, ...ruled, keyOf });
      const free = await pki.authority(`${name}3`, { issuer: two, commonName: name, keyOf });
      const root = await pki.authority(`${name}_root`, { extensions: [rule] });
      const leaf = await pki.client(`${name}_leaf`, { issuer: between });
      const rows: readonly [string, readonly Issued[], readonly Issued[], Issued | null][] = [
        ["the only way", [leaf, between], [one], null],
        ["two ways to two authorities", [leaf, between, crossed], [one, two], null],
        ["one of the ways has none", [leaf, between, free], [one, two], two],
      ];
      for (const [which, chain, trusted, expected] of rows) {
        await t.step(`${rule}: ${which}`, async () => {
          const found = find(await readDers(chain), await readDers(trusted));
          if (expected === null) assertEquals(found, null);
          else await assertAuthority(found, expected);
        });
      }
      await t.step(`${rule}: an authority`, () => {
        const message = `has an extension that is not checked here, ${extension}: `;
        for (const caFile of [root.certFile, between.certFile]) {
          assertThrows(() => buildServerSslctx({ ...own, caFile }), RangeError, message);
          assertThrows(() => buildClientSslctx({ caFile }), RangeError, message);
        }
      });
    }
    await t.step("an unknown extension that isn't critical has no effect", async () => {
      const free = await pki.authority("free", { extensions: ["1.2.3.4=ASN1:NULL"] });
      buildServerSslctx({ ...own, caFile: free.certFile });
    });
  },
);

opensslTest(
  "among 131 authorities with one name each client's own is found, and more than 100 cause a warning",
  async (pki) => {
    const authorities = await Promise.all(
      Array.from({ length: 131 }, async (_, index): Promise<Issued> => {
        const { certificate, privateKey } = await createAuthority({ commonName: "same" }, 2);
        const issued = { certFile: pki.path(`${index}.pem`), keyFile: pki.path(`${index}.key`) };
        await Deno.writeTextFile(issued.certFile, certificate);
        await Deno.writeTextFile(issued.keyFile, privateKey);
        return issued;
      }),
    );
    const clients = [0, 99, 130];
    const issued: Issued[] = [];
    for (const index of clients) {
      const extensions = ["extendedKeyUsage=clientAuth", "authorityKeyIdentifier=none"];
      issued.push(await pki.client(`client${index}`, { issuer: authorities[index]!, extensions }));
    }
    const trusted = await readDers(authorities);
    for (const [at, index] of clients.entries()) {
      const chain = await readDers([issued[at]!]);
      await assertAuthority(find(chain, trusted), authorities[index]!);
    }
    const own = await textsOf(await pki.server("server", { issuer: authorities[0]! }));
    const texts = await Promise.all(authorities.map((each) => readPem(each)));
    const serverSslconfig: ServerSslconfig = { ...own, ca: texts.slice(0, 100) };
    assertEquals(buildServerSslctx(serverSslconfig).warnings, []);
    const { warnings } = buildServerSslctx({ ...own, ca: texts.slice(0, 101) });
    assertEquals(warnings.length, 1);
    assertStringIncludes(warnings[0]!, '101 authorities have the name "CN=same"');
    const clientSslconfig = { ca: texts[0]!, ...await textsOf(issued[1]!), checkHostname: false };
    const seen: (PeerCertificate | null)[] = [];
    await using endpoint = await startTls({ serverSslconfig, clientSslconfig }, (_, session) => {
      seen.push(session.peerCertificate);
      return [204, "No Content", {}, null];
    });
    const client = new SSLClient(clientSslconfig, endpoint.server.address, { timeout: 10 });
    assertEquals((await client.request("GET", "/")).status, 204);
    await assertAuthority(seen[0]?.authority, authorities[99]!);
  },
);

opensslTest("no authority is found if no path is valid", async (pki, t) => {
  const root = await pki.authority("root");
  const namesake = await pki.authority("namesake", { commonName: "root" });
  const leaf = await pki.client("leaf", { issuer: root });
  const make = async (name: string, extensions: readonly string[], options = {}) => {
    const between = await pki.authority(name, { issuer: root, extensions, ...options });
    return [await pki.client(`below_${name}`, { issuer: between }), between];
  };
  const key1 = await pki.authority("circle1");
  const circle2 = await pki.authority("circle2", { issuer: key1 });
  const circle = { issuer: circle2, commonName: "circle1", keyOf: key1 };
  const circle1 = await pki.authority("circle1_by_2", circle);
  const rows: readonly [string, readonly Issued[], readonly Issued[], Issued | null][] = [
    ["signed by it", [leaf], [root], root],
    ["signed by a namesake", [leaf], [namesake], null],
    ["nobody is trusted", [leaf], [], null],
    ["itself", [leaf], [leaf], null],
    ["an intermediate is missing", (await make("a", [])).slice(0, 1), [root], null],
    ["an intermediate", await make("b", ["keyUsage=keyCertSign"]), [root], root],
    ["it may not sign certificates", await make("c", ["keyUsage=cRLSign"]), [root], null],
    ["it may encipher", await make("i", ["keyUsage=keyAgreement,encipherOnly"]), [root], null],
    ["it has expired", await make("f", [], { to: timeFromNow(-1) }), [root], null],
    ["it is not valid yet", await make("g", [], { from: timeFromNow(1) }), [root], null],
    [
      "a circle",
      [
        await pki.client("below_circle", { issuer: circle1 }),
        circle1,
        circle2,
      ],
      [root],
      null,
    ],
    ["a leaf in between", [await pki.client("below_leaf", { issuer: leaf }), leaf], [root], null],
  ];
  for (const [name, chain, trusted, expected] of rows) {
    await t.step(name, async () => {
      const found = find(await readDers(chain), await readDers(trusted), "clientAuth");
      if (expected === null) assertEquals(found, null);
      else await assertAuthority(found, expected);
    });
  }
  await t.step("unreadable certificates are skipped", async () => {
    const [below, between] = await readDers(await make("h", []));
    const junk = [new Uint8Array(), Uint8Array.of(0x30, 0x80), between!.slice(0, -1)];
    const found = find([below!, ...junk, between!], await readDers([root]));
    await assertAuthority(found, root);
  });
});

opensslTest(
  "an authority that remains after others were skipped is not mistaken for the signer",
  async (pki, t) => {
    const victim = await pki.authority("victim", { key: KEY.p521 });
    const attacker = await pki.authority("attacker");
    // The TLS library goes over it all the same: it does not look at keyUsage.
    const between = await pki.authority("between", {
      issuer: attacker,
      commonName: "victim",
      extensions: ["keyUsage=critical,digitalSignature"],
    });
    const leaf = await pki.client("leaf", { issuer: between, commonName: "x" });
    const trusted = await readDers([victim, attacker]);
    await t.step("by its keyUsage", async () => {
      assertEquals(find(await readDers([leaf, between]), trusted), null);
    });
    await t.step("as one too many", async () => {
      const signing = await pki.authority("signing", { issuer: attacker, commonName: "victim" });
      const own = await pki.client("own", { issuer: signing, commonName: "x" });
      const [first, issuer] = await readDers([own, signing]);
      const junk = await readDers(
        new Array(40).fill(await pki.client("junk", { issuer: attacker })),
      );
      assertEquals(find([first!, ...junk, issuer!], trusted), null);
      await assertAuthority(find([first!, issuer!], trusted), attacker);
    });
    await t.step("by the rules of another certificate of its key", async () => {
      const names = "nameConstraints=critical,permitted;DNS:guest.example";
      const ruled = await pki.authority("ruled", {
        issuer: attacker,
        commonName: "guest",
        extensions: [names],
      });
      const other = await pki.authority("other", {
        issuer: victim,
        commonName: "guest",
        keyOf: ruled,
        extensions: ["keyUsage=critical,digitalSignature"],
      });
      const guest = await pki.client("guest_leaf", { issuer: ruled });
      assertEquals(find(await readDers([guest, ruled, other]), trusted), null);
    });
  },
);
