/**
 * The servers under load: one over each kind of connection, and a proxy. The trust of one server
 * changes while it runs: clients that stay trusted are not affected, and others are refused.
 */

import {
  type App,
  buildServerSslctx,
  Client,
  ProxyApp,
  publicKey256,
  Server,
  type ServerOptions,
  type ServerSslconfig,
  SSLClient,
  SSLServer,
} from "@degu/degu";
import { TempPKI } from "@degu/degu/misc";
import { quietLogger } from "../fuzz/memory.ts";
import { type ClosingServer, noteClients, pause, type Run, type Tally } from "./traffic.ts";

/** The running servers, with a client of each. */
export type Servers = Awaited<ReturnType<typeof startServers>>;

/** A server that trusts one of its clients only at times. */
type SwappingServer = Servers["swapping"];

async function makeSwapping(server: SSLServer, pki: TempPKI, guestPki: TempPKI) {
  const { certFile, keyFile, caFile } = pki.serverSslconfig;
  const ca = await Promise.all(
    [caFile!, guestPki.serverSslconfig.caFile!].map((path) => Deno.readTextFile(path)),
  );
  const { certFile: guestCert, keyFile: guestKey } = guestPki.clientSslconfig;
  const sslconfig = { ...pki.clientSslconfig, certFile: guestCert, keyFile: guestKey };
  const withGuest: ServerSslconfig = { certFile, keyFile, ca };
  return {
    server,
    /**
     * The configurations of the server, which trusts the permanent clients: with and without the
     * guest.
     */
    withoutGuest: { ...withGuest, ca: ca.slice(0, 1) },
    withGuest,
    /** The client that is trusted only at times. */
    guest: new SSLClient(sslconfig, server.address, CLIENT_OPTIONS),
    /** The SHA-256 of the key of the guest's authority. */
    guestKey: publicKey256(ca[1]!),
  };
}

const OPTIONS: ServerOptions = {
  maxConnections: 200,
  // A well-behaved client is never that slow, not even on a busy machine.
  timeout: 30,
  // Faults would log too many lines.
  logger: quietLogger,
};
const CLIENT_OPTIONS = { timeout: 60 };

/** Starts a server of the application over TCP, a Unix socket, an abstract name and mutual TLS, and a proxy. */
export async function startServers(app: App, dir: string) {
  const stack = new AsyncDisposableStack();
  const servers: Server[] = [];
  const start = async <S extends Server>(server: S): Promise<S> => {
    stack.use(server);
    servers.push(server);
    server.serveForever();
    await server.ready;
    return server;
  };
  const pki = stack.use(await TempPKI.create());
  const guest = stack.use(await TempPKI.create());
  const tcp = await start(new Server(["127.0.0.1", 0], app, OPTIONS));
  const unix = await start(new Server(`${dir}/socket`, app, OPTIONS));
  const abstract = await start(new Server(new Uint8Array(), app, OPTIONS));
  const tls = await start(new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app, OPTIONS));
  const upstream = new Client(unix.address, CLIENT_OPTIONS);
  const proxy = await start(new Server(["::1", 0], new ProxyApp(upstream), OPTIONS));
  const closing = await start(new Server(["127.0.0.1", 0], noteClients(app), OPTIONS));
  const closingTls = await start(
    new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], noteClients(app), OPTIONS),
  );
  const makeClosing = (server: Server, client: Client): ClosingServer => ({
    ...{ server, client, closed: new Set() },
  });
  return {
    clients: new Map<string, Client>([
      ["TCP", new Client(tcp.address, CLIENT_OPTIONS)],
      ["Unix", upstream],
      ["abstract", new Client(abstract.address, CLIENT_OPTIONS)],
      ["mTLS", new SSLClient(pki.clientSslconfig, tls.address, CLIENT_OPTIONS)],
      ["proxy", new Client(proxy.address, CLIENT_OPTIONS)],
    ]),
    /** A server with TLS, and a client that it trusts only at times. */
    swapping: await makeSwapping(tls, pki, guest),
    /** A client of the server with TLS that has no certificate. */
    stranger: new SSLClient(pki.anonymousClientSslconfig, tls.address, CLIENT_OPTIONS),
    /** Servers whose sessions are closed at random. */
    closing: [
      makeClosing(closing, new Client(closing.address, CLIENT_OPTIONS)),
      makeClosing(
        closingTls,
        new SSLClient(pki.clientSslconfig, closingTls.address, CLIENT_OPTIONS),
      ),
    ],
    countSessions: () => servers.reduce((sum, { sessions }) => sum + sessions.size, 0),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const GUESTS = 2;

/** The current trust of the server. */
interface Trust {
  version: number;
  guest: boolean;
}

/** Swaps the contexts of a server at random, while the guest connects. */
export async function runSwaps(swapping: SwappingServer, run: Run): Promise<void> {
  const trust: Trust = { version: 0, guest: false };
  const guests = Array.from({ length: GUESTS }, () => runGuest(swapping, trust, run));
  await swapAtRandom(swapping, trust, run);
  await Promise.all(guests);
}

async function swapAtRandom(
  swapping: SwappingServer,
  trust: Trust,
  { random, tally, signal }: Run,
): Promise<void> {
  const { server, withGuest, withoutGuest } = swapping;
  const contexts = { true: buildServerSslctx(withGuest), false: buildServerSslctx(withoutGuest) };
  const invalidConfig: ServerSslconfig = {
    ...withGuest,
    certFile: `${withGuest.certFile}.missing`,
  };
  while (!signal.aborted) {
    const guest = random.below(2) === 0;
    const previousContext = server.sslctx;
    if (random.below(5) === 0) {
      try {
        server.setSslctx(invalidConfig);
        tally.fail("setSslctx: took a certificate that is missing");
      } catch {
        tally.count("server: a context that can't be built");
      }
      if (server.sslctx !== previousContext) tally.fail("setSslctx: threw, and has changed");
    }
    const config = guest ? withGuest : withoutGuest;
    server.setSslctx(random.below(2) === 0 ? contexts[`${guest}`] : config);
    trust.version++;
    trust.guest = guest;
    tally.count(`server: a context ${guest ? "with" : "without"} the guest`);
    if (!guest) checkGuestsEnded(swapping, tally);
    // Sometimes wait long enough for whole connections under the same context.
    const maxMilliseconds = random.chance(50) ? 100 : 2000;
    await pause(random.below(maxMilliseconds));
  }
}

function checkGuestsEnded({ server, guestKey }: SwappingServer, tally: Tally): void {
  for (const session of server.sessions) {
    if (session.peerCertificate?.authority?.publicKey256 !== guestKey) continue;
    tally.fail("setSslctx: a session of the guest continues");
  }
}

/** Connects as the guest, which must be accepted exactly while it is trusted. */
async function runGuest(
  { guest }: SwappingServer,
  trust: Trust,
  { tally, signal }: Run,
): Promise<void> {
  while (!signal.aborted) {
    const { version, guest: isTrusted } = trust;
    let problem: unknown = null;
    try {
      await guest.request("GET", "/data?seed=1&size=1&kind=array", { checksum: "0-0" });
    } catch (error) {
      problem = error;
    }
    if (version !== trust.version) {
      tally.count("guest: its trust has changed meanwhile");
    } else if (isTrusted !== (problem === null)) {
      tally.fail(`guest, trusted: ${isTrusted}: ${Deno.inspect(problem)}`);
    } else {
      tally.count(`guest: ${isTrusted ? "trusted, answered" : "not trusted, refused"}`);
    }
    await pause(5);
  }
}
