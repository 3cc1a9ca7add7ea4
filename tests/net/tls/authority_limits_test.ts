/** The limits in certificates of trusted authorities, which the TLS library ignores. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import fc from "fast-check";
import { TlsError } from "@degu/degu/base";
import { buildClientSslctx } from "@degu/degu/client";
import { buildServerSslctx } from "@degu/degu/server";
import {
  EXTENSIONS,
  makeAuthority,
  makeLeaf,
  type TestAuthority,
} from "@degu/testing/authorities.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { ignoreUnlessInstalled, runWithInput } from "@degu/testing/tls_openssl.ts";

type Role = "client" | "server";
const ROLES: readonly Role[] = ["client", "server"];

/** The extensions of an authority's certificate. */
interface Limits {
  readonly keyUsage?: "signsCertificates" | "signsLists" | undefined;
  readonly pathLength?: number | undefined;
  readonly isFor?: readonly ("clientAuth" | "serverAuth" | "any")[] | undefined;
  /** An extension that can't be checked. */
  readonly rule?: "nameConstraints" | "unknown" | undefined;
}

/** A peer's certificate, the intermediates, and the trusted authority, in this order. */
type Path = readonly [leaf: TestAuthority, ...TestAuthority[]];

/** Makes certificates; the first limits are for the trusted authority. */
function makePath(limits: readonly Limits[]): Path {
  let issuer: TestAuthority | undefined;
  const path: TestAuthority[] = [];
  for (const { keyUsage, pathLength, isFor, rule } of limits) {
    issuer = makeAuthority({
      ...(issuer === undefined ? {} : { issuer }),
      extensions: [
        EXTENSIONS.authority(pathLength),
        ...keyUsage === undefined ? [] : [EXTENSIONS[keyUsage]()],
        ...isFor === undefined ? [] : [EXTENSIONS.isFor(...isFor)],
        ...rule === undefined ? [] : [EXTENSIONS[rule](true)],
      ],
    });
    path.unshift(issuer);
  }
  return [makeLeaf(issuer!), ...path];
}

const unrelatedAuthority = makeAuthority();
const unrelatedLeaf = makeLeaf(unrelatedAuthority);

/**
 * Whether a peer with this path is accepted by a peer that trusts its last certificate and `more`.
 */
async function isAccepted(role: Role, path: Path, otherAuthorities: readonly TestAuthority[] = []) {
  const joinPem = (certificates: readonly TestAuthority[]) =>
    certificates.map(({ pem }) => pem).join("");
  const identity = { cert: joinPem(path.slice(0, -1)), key: path[0].keyPem };
  const peerIdentity = { cert: unrelatedLeaf.pem, key: unrelatedLeaf.keyPem };
  const trust = joinPem([path.at(-1)!, ...otherAuthorities]);
  const [client, server] = role === "client" ? [identity, peerIdentity] : [peerIdentity, identity];
  const serverSslconfig = { ...server, ca: role === "client" ? trust : unrelatedAuthority.pem };
  const ca = role === "server" ? trust : unrelatedAuthority.pem;
  const clientSslconfig = { ...client, ca, checkHostname: false };
  buildClientSslctx(clientSslconfig); // Check before a server is started.
  await using endpoint = await startTls(
    { serverSslconfig, clientSslconfig },
    () => [204, "No Content", {}, null],
  );
  try {
    return (await endpoint.client.request("GET", "/")).status === 204;
  } catch (error) {
    const reason = role === "server" && error instanceof TlsError
      ? error.code
      : (await endpoint.logger.waitFor("info"))[0]!;
    if (reason.includes("UNTRUSTED")) return false;
    throw error;
  }
}

const NONE: Limits = {};
const PATHS: readonly [string, readonly Limits[], Partial<Record<Role, true>>][] = [
  ["no limits", [NONE], { client: true, server: true }],
  ["pathlen:0, directly below", [{ pathLength: 0 }], { client: true, server: true }],
  ["pathlen:0, above an intermediate", [{ pathLength: 0 }, NONE], {}],
  ["pathlen:1, above one intermediate", [{ pathLength: 1 }, NONE], { client: true, server: true }],
  ["pathlen:1, above two intermediates", [{ pathLength: 1 }, NONE, NONE], {}],
  ["for clients", [{ isFor: ["clientAuth"] }], { client: true }],
  ["for servers", [{ isFor: ["serverAuth"] }], { server: true }],
  ["for servers, above an intermediate", [{ isFor: ["serverAuth"] }, NONE], { server: true }],
  ["for both", [{ isFor: ["serverAuth", "clientAuth"] }], { client: true, server: true }],
  ["for any use", [{ isFor: ["any"] }], { client: true, server: true }],
  ["for signing certificates", [{ keyUsage: "signsCertificates" }], { client: true, server: true }],
];
for (const [name, limits, accepted] of PATHS) {
  Deno.test(`the limits of a trusted authority hold for its clients and servers: ${name}`, async () => {
    const path = makePath(limits);
    for (const role of ROLES) {
      assertEquals(await isAccepted(role, path), accepted[role] === true, role);
    }
  });
}

Deno.test("limits of one trusted authority don't apply to another", async () => {
  const [leaf, intermediate, root] = makePath([{ pathLength: 0 }, NONE]);
  assert(intermediate !== undefined && root !== undefined);
  assertEquals(await isAccepted("client", [leaf, intermediate, root], [unrelatedAuthority]), false);
  assertEquals(await isAccepted("client", [leaf, intermediate, root], [intermediate]), true);
  const { keys, name } = root;
  const extensions = [EXTENSIONS.authority(), EXTENSIONS.isFor("serverAuth")];
  const sameAuthority = makeAuthority({ keys, name, extensions });
  assertEquals(await isAccepted("client", [leaf, intermediate, root], [sameAuthority]), false);
  const unlimitedAuthority = makeAuthority({ keys, name });
  assertEquals(
    await isAccepted("client", [leaf, intermediate, root], [sameAuthority, unlimitedAuthority]),
    true,
  );
});

Deno.test("an authority that may not sign certificates is refused when the configuration is read", () => {
  const [leaf, invalidAuthority] = makePath([{ keyUsage: "signsLists" }]);
  assert(invalidAuthority !== undefined);
  const ca = [unrelatedAuthority.pem, unrelatedAuthority.pem + invalidAuthority.pem];
  const builds = [
    () => buildClientSslctx({ ca }),
    () => buildServerSslctx({ cert: leaf.pem, key: leaf.keyPem, ca }),
  ];
  for (const build of builds) {
    const error = assertThrows(build, RangeError, 'ca: certificate 2 in text 2, of "CN=');
    assertEquals(error.message.endsWith("it has a keyUsage without keyCertSign"), true);
  }
});

Deno.test(
  "random paths are accepted if openssl verify accepts them, unless they have rules that are not checked",
  await ignoreUnlessInstalled("openssl"),
  async () => {
    await using dir = await createTempDir();
    const limits = fc.record({
      keyUsage: fc.constantFrom(undefined, undefined, "signsCertificates", "signsLists"),
      pathLength: fc.constantFrom(undefined, undefined, 0, 1, 2),
      isFor: fc.constantFrom<Limits["isFor"][]>(undefined, undefined, ["clientAuth"], [
        "serverAuth",
      ], ["clientAuth", "serverAuth"]),
      rule: fc.oneof(
        { weight: 9, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.constantFrom("nameConstraints", "unknown") },
      ),
    }) as fc.Arbitrary<Limits>;
    const paths = fc.array(limits, { minLength: 1, maxLength: 3 });
    const names = ["leaf.pem", "between.pem", "root.pem"].map((name) => join(dir.path, name));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...ROLES), paths, async (role, all) => {
        const path = makePath(all);
        const parts = [path.slice(0, 1), path.slice(1, -1), path.slice(-1)];
        for (const [index, part] of parts.entries()) {
          await Deno.writeTextFile(names[index]!, part.map(({ pem }) => pem).join(""));
        }
        const [leaf, intermediate, root] = names as [string, string, string];
        const untrusted = path.length > 2 ? ["-untrusted", intermediate] : [];
        const args = ["verify", "-purpose", `ssl${role}`, "-CAfile", root, ...untrusted, leaf];
        const { code } = await runWithInput("openssl", args, "");
        const isAllowed = await isAccepted(role, path).catch((error) => {
          // Reading the configuration refuses the certificate as an authority.
          if (error instanceof RangeError) return false;
          throw error;
        });
        const hasRules = all.some(({ rule }) => rule !== undefined);
        assertEquals(isAllowed, code === 0 && !hasRules);
      }),
      { numRuns: 25 },
    );
  },
);
