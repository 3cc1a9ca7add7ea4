/** Programs with names that the package doesn't export, and the exported names. */

import { parseWrongPrograms, type RightPrograms, type WrongProgram } from "./programs.ts";

/** Types and classes that `@degu/degu` doesn't export, by the module that exports them. */
const ELSEWHERE = {
  base: "Bodies ByteSink ByteSource ChunkedDecoderStream ChunkedEncoderStream HostAddress " +
    "LengthDecoderStream LengthEncoderStream ParsedHost PeerAuthority ProtocolErrorCode " +
    "ReadableBody ScopedAddress TlsErrorCode",
  client: "AuthorityFiles AuthorityTexts CertificateFiles CertificateTexts RequestShortcuts",
  server: "ResponseObject",
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
  ...parseWrongPrograms(`
the question of a pairing as Asked | has no exported member 'Asked'
- const confirm = ({ number }: import("@degu/device").Asked) => number === "123456";
+ const confirm = ({ number }: import("@degu/device").PairingQuestion) => number === "123456";

the function that confirms a number as Confirm | has no exported member 'Confirm'
- const confirm: import("@degu/device").Confirm = () => true;
+ const confirm: import("@degu/device").ConfirmNumber = () => true;

a retry as Retry | has no exported member named 'Retry'
- const onRetry = ({ number }: degu.Retry) => console.log(number);
+ const onRetry = ({ number }: degu.RetryEvent) => console.log(number);

the wrapped app as Next | has no exported member 'Next'
- const handle = (next: degu.Next) => next();
+ const handle = (next: degu.NextApp) => next();

a Request that a program constructs | TS2554
- new degu.Request("GET", "/", {}, null, [], [], null);
+ mkreq("GET", "/");

a Request that a program constructs, without types | TypeError: use mkreq()
- Reflect.construct(degu.Request, ["GET", "/", {}, null, [], [], null]);
+ mkreq("GET", "/");

a Session that a program constructs | TS2554
- await callApp(app, mkreq("GET", "/"), { session: new degu.Session("test", null, 10) });
+ await callApp(app, mkreq("GET", "/"), { session: { address: null } });

a Session that a program constructs, without types | TypeError: use callApp()
- Reflect.construct(degu.Session, ["test", null, 10]);
+ await callApp(app, mkreq("GET", "/"), { session: { address: null } });

the limit of a pool as max | 'max' does not exist in type 'ConnectionPoolOptions'
- new ConnectionPool(client, { max: 2 });
+ new ConnectionPool(client, { maxConnections: 2 });

the method of an object where wrapApp makes a function | Property 'handle' does not exist
- wrapApp(() => reply(200), (next) => next()).handle(request);
+ wrapApp(() => reply(200), (next) => next())(request, session, {} as Api);

an object that wrapApp made, called as a function | TS2349
- wrapApp({ handle: app }, (next) => next())(request);
+ wrapApp({ handle: app }, (next) => next()).handle(request, session, {} as Api);

a wrapped function for another route | TS2322
- routes({
-   "GET /lamp/{id}": wrapApp(
-     ({ parameters }: degu.RouteRequest<"GET /{name}">) => reply(200, parameters.name),
-     (next) => next(),
-   ),
- });
+ routes({
+   "GET /lamp/{name}": wrapApp(
+     ({ parameters }: degu.RouteRequest<"GET /{name}">) => reply(200, parameters.name),
+     (next) => next(),
+   ),
+ });

the idle timeout of a pool as idle | 'idle' does not exist in type 'ConnectionPoolOptions'
- new ConnectionPool(client, { idle: 5 });
+ new ConnectionPool(client, { idleTimeout: 5 });

an unknown option of a pool in an object of unknown type | TypeError: "max"
- new ConnectionPool(client, JSON.parse('{ "max": 2 }'));
+ new ConnectionPool(client, JSON.parse('{ "maxConnections": 2 }'));

the skipped deletions of a tree as deletionsKept | Property 'deletionsKept' does not exist
- (await downloadTree(client, "/a/", "/tmp/a")).deletionsKept;
+ (await downloadTree(client, "/a/", "/tmp/a")).deletionsSkipped;

the authority of a peer as certificate | Property 'certificate' does not exist on type 'Peer'
- new SSLClient({ ca: (await device.peers())[0]!.certificate }, address);
+ new SSLClient({ ca: (await device.peers())[0]!.ca }, address);
`),
];

/** Programs that must compile. */
export const RIGHT: RightPrograms = {
  "the result of wrapApp for a function": `
const plain: AppFunction = wrapApp(() => reply(200), (next, { uri }) => uri === "/" ? next() : reply(404));
plain(request, session, undefined as unknown as Api);
type LampRequest = degu.RouteRequest<"GET /lamp/{name}">;
const lamp = wrapApp(
  ({ parameters: { name } }: LampRequest) => reply(200, name),
  (next, request, session) => {
    const { name } = request.parameters;
    if (session.user !== name) return reply(403);
    return name === "" ? next() : next(request.with({ headers: {} }));
  },
);
routes({
  "GET /lamp/{name}": lamp,
  "GET /light/{id}": wrapApp(({ parameters }) => reply(200, parameters.id), (next) => next()),
});
`,
  "the result of wrapApp for an object, and for either": `
const object: AppObject = wrapApp({ handle: app, onConnect: () => true }, (next, _request, session) => {
  return session.user === null ? reply(403) : next();
});
new Server(address, wrapApp(new FilesApp("/tmp"), (next) => next()));
object.onConnect;
const logged = (app: App): App => wrapApp(app, async (next, { uri }) => {
  console.log(uri);
  return await next();
});
routes({ "/": logged(app), "/files/": logged(new FilesApp("/tmp")) });
`,
  "a pool without limits": `
new ConnectionPool(client, { maxConnections: Infinity, idleTimeout: null });`,
};
