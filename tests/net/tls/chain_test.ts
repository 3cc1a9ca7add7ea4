/** The path from a certificate to an authority. */
import { assertEquals } from "@std/assert";
import { findAuthority } from "@degu/internal/net/tls/authority.ts";
import { type Issued, OpensslPki, timeFromNow, unlessMissing } from "@degu/testing/tls_openssl.ts";
import { assertAuthority, readDer, readDers } from "@degu/testing/tls_authorities.ts";

const needsOpenssl = await unlessMissing("openssl");

Deno.test({
  name: "findAuthority() returns null if no path is valid",
  ...needsOpenssl,
  async fn(t) {
    await using pki = await OpensslPki.create();
    const root = await pki.authority("root");
    const namesake = await pki.authority("namesake", { commonName: "root" });
    const leaf = await pki.client("leaf", { issuer: root });
    const make = async (name: string, extensions: readonly string[], options = {}) => {
      const between = await pki.authority(name, { issuer: root, extensions, ...options });
      return [await pki.client(`below_${name}`, { issuer: between }), between];
    };
    const shortPath = await pki.authority("short_path", { issuer: root, pathLength: 0 });
    const tooLong = await pki.authority("too_long", { issuer: shortPath });
    const key1 = await pki.authority("circle1");
    const circle2 = await pki.authority("circle2", { issuer: key1 });
    const circle = { issuer: circle2, commonName: "circle1", keyOf: key1 };
    const circle1 = await pki.authority("circle1_by_2", circle);
    const rows: readonly [string, readonly Issued[], readonly Issued[], Issued | null][] = [
      ["signed by it", [leaf], [root], root],
      ["signed by a namesake", [leaf], [namesake], null],
      ["nobody is trusted", [leaf], [], null],
      ["nothing was shown", [], [root], null],
      ["itself", [leaf], [leaf], null],
      ["an intermediate is missing", (await make("a", [])).slice(0, 1), [root], null],
      ["an intermediate", await make("b", ["keyUsage=keyCertSign"]), [root], root],
      ["it may not sign certificates", await make("c", ["keyUsage=cRLSign"]), [root], null],
      ["it is for servers", await make("d", ["extendedKeyUsage=serverAuth"]), [root], null],
      ["it is for both", await make("e", ["extendedKeyUsage=serverAuth,clientAuth"]), [root], root],
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
      [
        "as many as may be",
        [
          await pki.client("below_short", { issuer: shortPath }),
          shortPath,
        ],
        [root],
        root,
      ],
      [
        "one too many",
        [
          await pki.client("below_long", { issuer: tooLong }),
          tooLong,
          shortPath,
        ],
        [root],
        null,
      ],
    ];
    for (const [name, chain, trusted, expected] of rows) {
      await t.step(name, async () => {
        const found = findAuthority(await readDers(chain), await readDers(trusted), "clientAuth");
        if (expected === null) assertEquals(found, null);
        else await assertAuthority(found, expected);
      });
    }
    await t.step("unreadable certificates are skipped", async () => {
      const [below, between] = await readDers(await make("h", []));
      const junk = [new Uint8Array(), Uint8Array.of(0x30, 0x80), between!.slice(0, -1)];
      const found = findAuthority([below!, ...junk, between!], [await readDer(root)]);
      await assertAuthority(found, root);
    });
  },
});

Deno.test({
  name: "an authority that remains after others were skipped is not mistaken for the signer",
  ...needsOpenssl,
  async fn(t) {
    await using pki = await OpensslPki.create();
    const victim = await pki.authority("victim", {
      key: ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    });
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
      assertEquals(findAuthority(await readDers([leaf, between]), trusted), null);
    });
    await t.step("as one too many", async () => {
      const signing = await pki.authority("signing", { issuer: attacker, commonName: "victim" });
      const own = await pki.client("own", { issuer: signing, commonName: "x" });
      const [first, issuer] = await readDers([own, signing]);
      const junk = await readDers(
        new Array(40).fill(await pki.client("junk", { issuer: attacker })),
      );
      assertEquals(findAuthority([first!, ...junk, issuer!], trusted), null);
      await assertAuthority(findAuthority([first!, issuer!], trusted), attacker);
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
      assertEquals(findAuthority(await readDers([guest, ruled, other]), trusted), null);
    });
  },
});
