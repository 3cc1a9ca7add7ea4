/**
 * Programs with trust: TLS configurations, servers of devices, identities of peers, and sessions of
 * callApp().
 */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

export const WRONG: readonly WrongProgram[] = parseWrongPrograms(`
a certificate as text and as file | 'certFile' are incompatible
- new SSLServer({ cert, certFile, key, caFile }, address, app);
+ new SSLServer({ cert, key, caFile }, address, app);

the certificate of a client as text and as file | 'certFile' are incompatible
- new SSLClient({ cert, key, certFile, keyFile, caFile }, address);
+ new SSLClient({ certFile, keyFile, caFile }, address);

a certificate as text, and its key as file | are incompatible
- new SSLServer({ cert, keyFile, caFile }, address, app);
+ new SSLServer({ certFile, keyFile, caFile }, address, app);

the authorities of a server as text and as file | are incompatible
- new SSLServer({ certFile, keyFile, ca, caFile }, address, app);
+ new SSLServer({ certFile, keyFile, ca }, address, app);

the authorities of a client as text and as directory | 'caPath' are incompatible
- new SSLClient({ ca, caPath: "/tmp/authorities" }, address);
+ new SSLClient({ caFile, caPath: "/tmp/authorities" }, address);

a server of TLS without trust | Property 'caFile' is missing
- new SSLServer({ certFile, keyFile }, address, app);
+ new SSLServer({ certFile, keyFile, allowUnauthenticatedClients: true }, address, app);

a server of TLS without a certificate | missing the following properties from type '{ certFile: string; keyFile: string; }'
- SSLServer.start({ caFile }, address, app);
+ SSLServer.start({ certFile, keyFile, caFile }, address, app);

a server of TLS that accepts no client | TypeError: must have ca, caFile or caPath
- buildServerSslctx({ certFile, keyFile, allowUnauthenticatedClients: false });
+ buildServerSslctx({ certFile, keyFile, caFile, allowUnauthenticatedClients: false });

a context without authorities | Property 'caFile' is missing
- (await SSLServer.start(pki.serverSslconfig, address, app)).setSslctx({ certFile, keyFile });
+ (await SSLServer.start(pki.serverSslconfig, address, app)).setSslctx({
+   certFile,
+   keyFile,
+   ca: [],
+ });

a text as allowUnauthenticatedClients | 'boolean | undefined'
- new SSLServer({ certFile, keyFile, allowUnauthenticatedClients: "yes" }, address, app);
+ new SSLServer({ certFile, keyFile, allowUnauthenticatedClients: flag }, address, app);

an option of a client for a server | 'checkHostname' does not exist
- new SSLServer({ certFile, keyFile, caFile, checkHostname: false }, address, app);
+ new SSLClient({ certFile, keyFile, caFile, checkHostname: false }, address);

a DeviceServer that no device has started | Property 'start' does not exist
- await DeviceServer.start(address, app);
+ await device.serve(address, app);

the trust of a device's server | Property 'setSslctx' does not exist
- (await device.serve(address, app)).setSslctx({ ca: [] });
+ await device.forget("viewer");

the result of forget as a condition | TS1345
- if (!await device.forget("viewer")) console.log("unknown");
+ await device.forget("viewer");

a found address as text | Type 'string' is not assignable to type 'HostAddress | ScopedAddress'
- await device.client("camera", { find: async () => ["192.0.2.1:7433"] });
+ await device.client("camera", { find: async () => [["192.0.2.1", 7433]] });

a found address as text that is parsed | 'HostAddress | ScopedAddress'
- await device.client("camera", { find: async () => [parseAddress("192.0.2.1:7433")] });
+ await device.client("camera", { addresses: [parseAddress("192.0.2.1:7433")] });

an identity without a name | Type '{}' is not assignable to type 'boolean | PeerIdentity
- new Server(address, { handle: app, onConnect: () => ({}) });
+ new Server(address, { handle: app, onConnect: () => ({ user: "viewer" }) });

an identity with a misspelled name | Type '{ usr: string; }' is not assignable to type 'boolean | PeerIdentity
- new Server(address, { handle: app, onConnect: () => ({ usr: "viewer" }) });
+ new Server(address, { handle: app, onConnect: () => true });

an identity whose name may be missing | undefined
- new Server(address, {
-   handle: app,
-   onConnect: ({ peerCertificate }) => ({ user: peerCertificate?.publicKey256 }),
- });
+ new Server(address, {
+   handle: app,
+   onConnect: ({ peerCertificate }) =>
+     peerCertificate !== null && { user: peerCertificate.publicKey256 },
+ });

a client that identifies its server | TS2322
- new Client(address, { onConnect: () => ({ user: "camera" }) });
+ new Client(address, { onConnect: () => true });

the peer of a call, in the place of its session | 'user' does not exist in type '{ session?:
- await callApp(app, mkreq("GET", "/"), { user: "viewer" });
+ await callApp(app, mkreq("GET", "/"), { session: { user: "viewer" } });

a session with a misspelled property | Did you mean to write 'user'
- await callApp(app, mkreq("GET", "/"), { session: { usr: "viewer" } });
+ await callApp(app, mkreq("GET", "/"), { session: { user: null } });

a check of trust as a condition | TS1345
- const guarded: App = async (_request, session) =>
-   await session.checkTrusted() ? reply(200) : reply(403);
+ const guarded: App = async (_request, session) => {
+   await session.checkTrusted();
+   return reply(200);
+ };

the trust compared without await | TS2367
- const guarded: App = (_request, session) =>
-   session.trust() === "trusted" ? reply(200) : reply(403);
+ const guarded: App = async (_request, session) =>
+   await session.trust() === "trusted" ? reply(200) : reply(403);

the trust compared without await, negated | TS2367
- if (session.trust() !== "trusted") throw new Error();
+ if (await session.trust() !== "trusted") throw new Error();

the trust in a variable, compared without await | TS2367
- const trust = session.trust();
- const isRefused = trust === "untrusted" || trust === "anonymous";
+ const trust = await session.trust();
+ const isRefused = trust === "untrusted" || trust === "anonymous";

the trust in a switch without await | TS2678
- switch (session.trust()) {
-   case "trusted":
-     reply(200);
- }
+ switch (await session.trust()) {
+   case "trusted":
+     reply(200);
+ }

the trust as a condition without await | TS2801
- if (session.trust()) reply(200);
+ if (await session.trust() === "trusted") reply(200);

the trust before && without await | TS2801
- const answer = session.trust() && reply(200);
+ const answer = await session.trust() === "trusted" && reply(200);

the trust in a ternary without await | TS2801
- const answer = session.trust() ? reply(200) : reply(403);
+ const answer = await session.trust() === "trusted" ? reply(200) : reply(403);

the trust by a wrapper without await | TS2367
- const trustOf = (s: Session) => s.trust();
- if (trustOf(session) === "untrusted") reply(403);
+ const trustOf = (s: Session) => s.trust();
+ if (await trustOf(session) === "untrusted") reply(403);

the trust compared with a boolean | TS2367
- const isTrusted = await session.trust() === true;
+ const isTrusted = await session.trust() === "trusted";

a misspelled trust | TS2367
- const isTrusted = await session.trust() === "Trusted";
+ const isTrusted = await session.trust() === "trusted";

isTrusted of a session | 'isTrusted' does not exist
- if (await session.isTrusted()) reply(200);
+ if (await session.trust() === "trusted") reply(200);

the trust without await, negated | TypeError: the app has called session.trust(), and has not awaited its result
- const guarded: App = (_request, session) => {
-   if (!session.trust()) return reply(403);
-   return reply(200);
- };
- await callApp(guarded, mkreq("GET", "/"));
+ const guarded: App = async (_request, session) =>
+   await session.trust() === "untrusted" ? reply(403) : reply(200);
+ await callApp(guarded, mkreq("GET", "/"));

a call of an app that refuses the peer | ConnectionClosedError: the app did not accept the peer: refused by onConnect
- await callApp({ handle: () => reply(200), onConnect: () => false }, mkreq("GET", "/"));
+ await callApp({ handle: () => reply(200), onConnect: () => true }, mkreq("GET", "/"));

a session whose trust is a value | TS2322
- await callApp(app, mkreq("GET", "/"), { session: { user: "viewer", isTrusted: true } });
+ await callApp(app, mkreq("GET", "/"), { session: { user: "viewer", isTrusted: () => true } });
`);

/** Programs that must compile. */
export const RIGHT: RightPrograms = {
  "all forms of the trust of a server": `
const own: { certFile: string; keyFile: string } = { certFile, keyFile };
for (
  const sslconfig of [
    { ...own, ca },
    { ...own, ca: [ca], allowUnauthenticatedClients: true },
    { ...own, ca: [] },
    { ...own, caFile },
    { ...own, caPath: "/tmp/authorities" },
    { ...own, caFile, caPath: "/tmp/authorities", allowUnauthenticatedClients: flag },
    { ...own, caFile, allowUnauthenticatedClients: false },
    { ...own, allowUnauthenticatedClients: true },
    { cert, key, allowUnauthenticatedClients: flag },
    { cert, key, caFile, certFile: undefined, ca: undefined },
  ] satisfies ServerSslconfig[]
) new SSLServer(sslconfig, address, app);
`,
  "all forms of the trust of a client": `
for (
  const sslconfig of [
    {},
    { checkHostname: true },
    { ca },
    { ca: [ca], cert, key },
    { caFile, cert, key, checkHostname: flag },
    { caFile, caPath: "/tmp/authorities", certFile, keyFile, ca: undefined },
  ] satisfies ClientSslconfig[]
) new SSLClient(sslconfig, address);
`,
  "configurations that are changed by spreading": `
new SSLServer({ ...pki.serverSslconfig, caFile }, address, app);
new SSLServer({ ...pki.serverSslconfig, allowUnauthenticatedClients: true }, address, app);
new SSLServer({ ...pki.serverSslconfig, caFile: undefined, ca }, address, app);
new SSLServer({ ...pki.anonymousServerSslconfig, caFile }, address, app);
new SSLClient({ ...pki.clientSslconfig, checkHostname: true }, address);
new SSLClient({ ...pki.anonymousClientSslconfig, cert, key }, address);
new SSLServer(anyPki.serverSslconfig, address, app);
new SSLServer({ ...anyPki.serverSslconfig, allowUnauthenticatedClients: true }, address, app);
new SSLServer({ ...sslconfig, ca: undefined, caFile }, address, app);
new SSLServer({ ...sslconfig, certFile: undefined, keyFile: undefined, cert, key }, address, app);
new SSLClient({ ...clientSslconfig, caFile: undefined, caPath: undefined, ca }, address);
`,
  "configurations that are built step by step": `
const trust = flag ? { caFile } : { allowUnauthenticatedClients: true };
new SSLServer({ certFile, keyFile, ...trust }, address, app);
const server: ServerSslconfig = { certFile, keyFile, caFile };
server.caFile = "/tmp/other.pem";
server.allowUnauthenticatedClients = flag;
new SSLServer(server, address, app);
const client: ClientSslconfig = {};
if (flag) client.checkHostname = true;
if (flag) client.certFile = certFile;
if (flag) client.keyFile = keyFile;
new SSLClient(client, address);
const args: { ca?: string; cert?: string; key?: string; open: boolean } = { open: flag };
new SSLServer(
  { certFile, keyFile, caFile: args.ca, allowUnauthenticatedClients: args.open },
  address,
  app,
);
new SSLClient({ caFile: args.ca, certFile: args.cert, keyFile: args.key }, address);
const own = flag ? { certFile, keyFile } : {};
new SSLClient({ ...own, ca }, address);
`,
  "configurations of other types": `
new SSLServer(JSON.parse("{}"), address, app);
new SSLServer(JSON.parse("{}") as ServerSslconfig, address, app);
const { server } = JSON.parse("{}") as { server: ServerSslconfig };
buildServerSslctx(server);
buildClientSslctx(JSON.parse("{}"));
function start(trust: { caFile: string } | { ca: string[] }) {
  return SSLServer.start({ certFile, keyFile, ...trust }, address, app);
}
start({ caFile });
const trusted: string | readonly string[] | undefined = server.ca;
const path: string | undefined = server.caFile;
`,
  "searches for the addresses of a peer": `
device.client("camera", { find: () => Promise.resolve([]) });
device.client("camera", { find: async () => [["fe80::1", 7433, 0, 3], ["192.0.2.1", 7433]] });
device.client("camera", { find: async (signal) => signal.aborted ? [] : [["camera.local", 7433]] });
const found: [string, number][] = [["192.0.2.1", 7433]];
const find = () => Promise.resolve(found);
device.client("camera", { find, findAfter: 1 });
device.client("camera", { find: undefined });
`,
  "every result of onConnect": `
const kinds: AppObject[] = [
  { handle: app, onConnect: () => true },
  { handle: app, onConnect: async () => await Promise.resolve(false) },
  { handle: app, onConnect: () => flag ? { user: "viewer" } : false },
  { handle: app, onConnect: async () => ({ user: "viewer", signal, isTrusted: async () => flag }) },
];
for (const each of kinds) wrapApp(each, (next) => next());
`,
};
