/** Programs with loggers, hosts and checked addresses. */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = parseWrongPrograms(`
the reach of a text that may not be a host | Object is possibly 'null'
- if (parseHost("camera.local").reach === "any") console.log("far");
+ if (parseHost("camera.local")?.reach === "any") console.log("far");

an address that is checked without a side | Expected 2 arguments, but got 1
- checkAddress(["127.0.0.1", 80]);
+ checkAddress(["127.0.0.1", 80], "client");

an address that is checked for an unknown side | '"listen"' is not assignable to parameter
- checkAddress(["127.0.0.1", 80], "listen");
+ checkAddress(["127.0.0.1", 80], "server");

console as the print of a standardLogger | 'Console' is not assignable
- standardLogger({ print: console });
+ standardLogger({ print: console.error });

a kind of log lines that doesn't exist | have no overlap
- const isOfPeers = ({ kind }: LogDetails) => kind === "bytes";
+ const isOfPeers = ({ kind }: LogDetails) => kind === "protocol";

a logger that only has record | is missing the following properties
- const logger: degu.Logger = { record: () => {} };
+ const logger: degu.Logger = { ...standardLogger(), record: () => {} };

a record of unknown type that is not a function | TypeError: logger: must be an object with the method record
- const logger = { ...console, record: JSON.parse('"/var/log/degu"') };
-      await Server.start(["127.0.0.1", 0], () => reply(204), { logger });
+ const { debug, info, warn, error } = console;
+      const logger = { debug, info, warn, error, record: () => {} };
+      await Server.start(["127.0.0.1", 0], () => reply(204), { logger });
`);

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
