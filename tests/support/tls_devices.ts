/**
 * Devices with their own authorities, one of which serves the others.
 *
 * @module
 */

import { assert } from "@std/assert";
import * as tls from "node:tls";
import { type Address, EmptyPreambleError } from "@degu/degu/base";
import { SSLClient } from "@degu/degu/client";
import { createDevicePki } from "@degu/degu/device";
import type {
  App,
  AppFunction,
  PeerCertificate,
  ServerOptions,
  ServerSslconfig,
} from "@degu/degu/server";
import { publicKey256 } from "./certificates.ts";
import { tempDir } from "./directories.ts";
import { within } from "./raw_peer.ts";
import { startTls, type TlsEndpoint } from "./tls_endpoints.ts";

/** A device. */
export interface Device {
  readonly name: string;
  readonly certFile: string;
  readonly keyFile: string;
  /** Its authority, in PEM: what a server is told to trust it. */
  readonly ca: string;
}

/** The error of a client that was refused. */
export const REFUSED = "refused";

/** A camera, which serves, and devices that are its clients. */
export class Devices implements AsyncDisposable {
  readonly #names = new Map<string, string>();

  private constructor(
    readonly dir: { readonly path: string } & AsyncDisposable,
    readonly camera: Device,
    readonly one: Device,
    readonly two: Device,
  ) {
    for (const { name, ca } of [camera, one, two]) this.#names.set(publicKey256(ca), name);
  }

  /** Makes the devices, in a directory that is removed on dispose. */
  static async create(): Promise<Devices> {
    const dir = await tempDir();
    const make = async (name: string): Promise<Device> => {
      const { certFile, keyFile, caFile } = await createDevicePki(dir.path, name);
      return { name, certFile, keyFile, ca: await Deno.readTextFile(caFile) };
    };
    const [camera, one, two] = await Promise.all([make("camera"), make("one"), make("two")]);
    return new Devices(dir, camera!, one!, two!);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dir[Symbol.asyncDispose]();
  }

  /** Who a client is, by the authority that vouched for it; `"nobody"` without a certificate. */
  nameOf(certificate: PeerCertificate | null): string {
    if (certificate === null) return "nobody";
    return this.#names.get(certificate.authority?.publicKey256 ?? "") ?? "somebody";
  }

  /** An app that answers with the identity of its client. */
  readonly greet: AppFunction = (_request, { peerCertificate }) => {
    return [200, "OK", { who: this.nameOf(peerCertificate) }, null];
  };

  /** A configuration of the camera, which trusts these. */
  trusting(...devices: readonly Device[]): ServerSslconfig {
    const { certFile, keyFile } = this.camera;
    return { certFile, keyFile, ca: devices.map(({ ca }) => ca) };
  }

  /** A configuration of the camera, which lets everybody in. */
  trustingAll(): ServerSslconfig {
    const { certFile, keyFile } = this.camera;
    return { certFile, keyFile, allowUnauthenticatedClients: true };
  }

  /** Starts the camera. */
  start(
    serverSslconfig: ServerSslconfig,
    app: App = this.greet,
    server: ServerOptions = {},
  ): Promise<TlsEndpoint> {
    return startTls({ serverSslconfig, clientSslconfig: { ca: this.camera.ca } }, app, { server });
  }

  /** A client that is this device, or nobody. */
  client(device: Device | null, address: Address): SSLClient {
    const own = device === null ? {} : { certFile: device.certFile, keyFile: device.keyFile };
    const sslconfig = { ...own, ca: this.camera.ca };
    return new SSLClient(sslconfig, address, { sslHost: this.camera.name, timeout: 10 });
  }

  /** What the camera calls a client, over a connection of its own; or {@linkcode REFUSED}. */
  async ask(device: Device | null, address: Address): Promise<string> {
    return await whoAmI(this.client(device, address));
  }

  /** The same for a client of `node:tls`, with one version of TLS. */
  askWith(version: tls.SecureVersion, device: Device | null, address: Address): Promise<string> {
    return this.connectWith(version, device, address).answer;
  }

  /** As {@linkcode Devices.askWith}; `secured` resolves when the client's side of the handshake is over. */
  connectWith(
    version: tls.SecureVersion,
    device: Device | null,
    address: Address,
  ): { readonly secured: Promise<void>; readonly answer: Promise<string> } {
    const [host, port] = address as readonly [string, number];
    const own = device === null ? {} : {
      cert: Deno.readTextFileSync(device.certFile),
      key: Deno.readTextFileSync(device.keyFile),
    };
    const trust = { ca: this.camera.ca, servername: this.camera.name };
    const versions = { minVersion: version, maxVersion: version };
    const socket = tls.connect({ host, port, ...versions, ...trust, ...own });
    const text = new TextDecoder();
    let received = "";
    const secured = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    socket.on("secureConnect", () => {
      socket.write("GET / HTTP/1.1\r\n\r\n");
      secured.resolve();
    });
    socket.on("data", (bytes: Uint8Array) => {
      received += text.decode(bytes);
      if (received.includes("\r\n\r\n")) socket.end();
    });
    socket.on("error", () => {});
    socket.on("close", () => closed.resolve());
    const answer = within(closed.promise, "the connection closes")
      .then(() => /\r\nwho: (\w+)\r\n/.exec(received)?.[1] ?? REFUSED);
    return { secured: secured.promise, answer };
  }
}

/** What the camera calls the client; or {@linkcode REFUSED}. */
export async function whoAmI(client: SSLClient): Promise<string> {
  try {
    return String((await client.request("GET", "/")).headers["who"]);
  } catch (error) {
    assert(isRefusal(error), Deno.inspect(error));
    return REFUSED;
  }
}

/** A server closes without a word, and a client that is writing meanwhile sees a broken connection. */
function isRefusal(error: unknown): boolean {
  return error instanceof EmptyPreambleError || error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BrokenPipe ||
    (error instanceof Error && /the peer closed|fatal alert/.test(error.message));
}
