/** Programs with loggers, hosts and checked addresses. */

import type { RightPrograms, WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = [
  [
    "the reach of a text that may not be a host",
    `if (parseHost("camera.local").reach === "any") console.log("far");`,
    `if (parseHost("camera.local")?.reach === "any") console.log("far");`,
    "Object is possibly 'null'",
  ],
  [
    "an address that is checked without a side",
    `checkAddress(["127.0.0.1", 80]);`,
    `checkAddress(["127.0.0.1", 80], "client");`,
    "Expected 2 arguments, but got 1",
  ],
  [
    "an address that is checked for an unknown side",
    `checkAddress(["127.0.0.1", 80], "listen");`,
    `checkAddress(["127.0.0.1", 80], "server");`,
    `'"listen"' is not assignable to parameter`,
  ],
  [
    "console as the print of a standardLogger",
    `standardLogger({ print: console });`,
    `standardLogger({ print: console.error });`,
    "'Console' is not assignable",
  ],
  [
    "a kind of log lines that doesn't exist",
    `const isOfPeers = ({ kind }: LogDetails) => kind === "bytes";`,
    `const isOfPeers = ({ kind }: LogDetails) => kind === "protocol";`,
    "have no overlap",
  ],
  [
    "a logger that only has record",
    `const logger: degu.Logger = { record: () => {} };`,
    `const logger: degu.Logger = { ...standardLogger(), record: () => {} };`,
    "is missing the following properties",
  ],
  [
    "a record of unknown type that is not a function",
    `const logger = { ...console, record: JSON.parse('"/var/log/degu"') };
     await Server.start(["127.0.0.1", 0], () => reply(204), { logger });`,
    `const { debug, info, warn, error } = console;
     const logger = { debug, info, warn, error, record: () => {} };
     await Server.start(["127.0.0.1", 0], () => reply(204), { logger });`,
    ["TypeError", "logger: must be an object with the method record"],
  ],
];

export const RIGHT: RightPrograms = {
  "console as a logger": `
    await Server.start(["127.0.0.1", 0], () => reply(204), { logger: console });`,
  "the bytes of an IPv4 address": `
    const host = parseHost("10.0.0.7");
    if (host?.type === "IPv4") console.log(host.bytes?.[0]);`,
  "a logger of a proxy with warn alone, and one with record": `
    const upstream = new Client(["127.0.0.1", 80]);
    new ProxyApp(upstream, { logger: { warn: () => {} } });
    new ProxyApp(upstream, { logger: { warn: () => {}, record: (level) => void level } });`,
};
