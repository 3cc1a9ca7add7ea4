/** Programs with names that the package doesn't export, and what each name is now. */

import type { RightPrograms, WrongProgram } from "./programs.ts";

/** Types and classes that `@degu/degu` doesn't export, by the module that does. */
const ELSEWHERE = {
  base: "Bodies BodyInput BodyReadOptions ByteSink ByteSource ChunkedDecoderStream " +
    "ChunkedEncoderStream HostAddress LengthDecoderStream LengthEncoderStream PeerAuthority " +
    "ReadableBody ScopedAddress",
  client:
    "AuthorityFiles AuthorityTexts CertificateFiles CertificateTexts HostnameCheck PoolPeer " +
    "RequestShortcuts Sslctx",
  server: "ClientAdmission",
};

export const WRONG: readonly WrongProgram[] = [
  ...Object.entries(ELSEWHERE).flatMap(([module, names]) =>
    names.split(" ").map((name): WrongProgram => [
      `${name} of @degu/degu`,
      `type Mine = degu.${name};`,
      `type Mine = import("@degu/degu/${module}").${name};`,
      "has no exported member",
    ])
  ),
  [
    "the question of a pairing as Asked",
    `const confirm = ({ number }: import("@degu/degu/device").Asked) => number === "123456";`,
    `const confirm = ({ number }: import("@degu/degu/device").PairingQuestion) => number === "123456";`,
    "has no exported member 'Asked'",
  ],
  [
    "the function that confirms a number as Confirm",
    `const confirm: import("@degu/degu/device").Confirm = () => true;`,
    `const confirm: import("@degu/degu/device").ConfirmNumber = () => true;`,
    "has no exported member 'Confirm'",
  ],
  [
    "a retry as Retry",
    `const onRetry = ({ number }: degu.Retry) => console.log(number);`,
    `const onRetry = ({ number }: degu.RetryEvent) => console.log(number);`,
    "has no exported member named 'Retry'",
  ],
  [
    "the wrapped app as Next",
    `const handle = (next: degu.Next) => next();`,
    `const handle = (next: degu.NextApp) => next();`,
    "has no exported member 'Next'",
  ],
  [
    "the limit of a pool as max",
    `new ConnectionPool(client, { max: 2 });`,
    `new ConnectionPool(client, { maxConnections: 2 });`,
    "'max' does not exist in type 'ConnectionPoolOptions'",
  ],
  [
    "how long a pool keeps a connection as idle",
    `new ConnectionPool(client, { idle: 5 });`,
    `new ConnectionPool(client, { idleTimeout: 5 });`,
    "'idle' does not exist in type 'ConnectionPoolOptions'",
  ],
  [
    "an unknown option of a pool in an object from elsewhere",
    `new ConnectionPool(client, JSON.parse('{ "max": 2 }'));`,
    `new ConnectionPool(client, JSON.parse('{ "maxConnections": 2 }'));`,
    ["TypeError", '"max"'],
  ],
  [
    "the deletions of a tree that were not made as deletionsKept",
    `(await downloadTree(client, "/a/", "/tmp/a")).deletionsKept;`,
    `(await downloadTree(client, "/a/", "/tmp/a")).deletionsSkipped;`,
    "Property 'deletionsKept' does not exist",
  ],
  [
    "the authority of a peer as certificate",
    `new SSLClient({ ca: (await device.peers())[0]!.certificate }, address);`,
    `new SSLClient({ ca: (await device.peers())[0]!.ca }, address);`,
    "Property 'certificate' does not exist on type 'Peer'",
  ],
];

/** What must compile. */
export const RIGHT: RightPrograms = {
  "a pool without limits": `
new ConnectionPool(client, { maxConnections: Infinity, idleTimeout: null });`,
};
