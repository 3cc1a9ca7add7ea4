/** Certificates made by the openssl program, and independent programs as peers. */

import { runCommand, runOrThrow, startCommand } from "@degu/testing/commands.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

/** No authorities of the system, because reading them takes longer than a handshake. */
const env = { SSL_CERT_FILE: "/dev/null", SSL_CERT_DIR: "/dev/null" };

/** The arguments for the version of a program, other than `--version`. */
const VERSION: Readonly<Record<string, string>> = { openssl: "version", ip: "-V" };

/** Returns options that skip a test if a program is missing. */
export async function ignoreUnlessInstalled(...programs: string[]): Promise<{ ignore: boolean }> {
  const missingPrograms: string[] = [];
  for (const program of programs) {
    const { success } = await runCommand([program, VERSION[program] ?? "--version"]);
    if (!success) missingPrograms.push(program);
  }
  if (missingPrograms.length > 0) {
    console.warn(`${missingPrograms.join(", ")} missing: some tests are skipped`);
  }
  return { ignore: missingPrograms.length > 0 };
}

export interface IssuedCertificate {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface CertificateOptions {
  /** The issuer; if left out, the certificate signs itself. */
  readonly issuer?: IssuedCertificate;
  /** Lines of an extension file; `basicConstraints` is added. */
  readonly extensions?: readonly string[];
  readonly isAuthority?: boolean;
  /** The maximum number of intermediate authorities below the authority. */
  readonly pathLength?: number;
  /** Arguments of `openssl req` for the signature. */
  readonly signOptions?: readonly string[];
  /** Arguments of `openssl req -newkey`. */
  readonly key?: readonly string[];
  /** The certificate whose key is used in place of a new one. */
  readonly keyOf?: IssuedCertificate;
  /** The common name; if left out, the name of the files. */
  readonly commonName?: string;
  /** `YYYYMMDDHHMMSSZ` */
  readonly from?: string;
  readonly to?: string;
}

/** An RSA key of 2048 bits for tests only. */
export const RSA_2048 = new URL("rsa_2048.pem", import.meta.url);

export const KEY = {
  p256: ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
  p384: ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
  p521: ["EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
  /** The stored key, because making a key takes as long as thirty certificates. */
  rsa2048: ["RSA"],
  rsa1024: ["RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
  ed25519: ["ED25519"],
} as const;

/**
 * Makes the configuration of one certificate. Each certificate has its own database, because two
 * processes of `openssl ca` can't rename the same database.
 */
const makeConfiguration = (name: string) =>
  `[ca]
default_ca = own
[own]
database = ${name}.index
new_certs_dir = .
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
[req]
distinguished_name = name
default_md = sha256
[name]
`;

/** Makes certificates in a temporary directory, which is removed on dispose. */
export class OpensslPki implements AsyncDisposable {
  private constructor(readonly dir: string) {}

  static async create(): Promise<OpensslPki> {
    const dir = await Deno.makeTempDir({ prefix: "degu-openssl-" });
    return new OpensslPki(dir);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.dir, { recursive: true });
  }

  makePath(name: string): string {
    return `${this.dir}/${name}`;
  }

  /** Concatenates files into a new file. */
  async join(name: string, ...parts: readonly string[]): Promise<string> {
    const texts = await Promise.all(parts.map((part) => Deno.readTextFile(part)));
    await Deno.writeTextFile(this.makePath(name), texts.join(""));
    return this.makePath(name);
  }

  createAuthority(name: string, options: CertificateOptions = {}): Promise<IssuedCertificate> {
    return this.createCertificate(name, { ...options, isAuthority: true });
  }

  createClientCertificate(name: string, options: CertificateOptions): Promise<IssuedCertificate> {
    return this.createCertificate(name, {
      extensions: ["extendedKeyUsage=clientAuth"],
      ...options,
    });
  }

  /** Makes a certificate for servers on loopback. */
  createServerCertificate(name: string, options: CertificateOptions): Promise<IssuedCertificate> {
    const extensions = [
      "extendedKeyUsage=serverAuth",
      "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1",
    ];
    return this.createCertificate(name, { extensions, ...options });
  }

  /**
   * Creates a key and a certificate: in one process if possible, because tests create many
   * certificates. `openssl req` doesn't accept times.
   */
  async createCertificate(name: string, options: CertificateOptions): Promise<IssuedCertificate> {
    const { issuer, extensions = [], isAuthority = false, key = KEY.p256, from, to } = options;
    const { keyOf, commonName = name, signOptions = [] } = options;
    const pathLength = options.pathLength === undefined ? "" : `,pathlen:${options.pathLength}`;
    const keyFile = keyOf?.keyFile ?? this.makePath(`${name}.key`);
    const files = { certFile: this.makePath(`${name}.pem`), keyFile };
    if (keyOf === undefined && key === KEY.rsa2048) await Deno.copyFile(RSA_2048, keyFile);
    const basic = `basicConstraints=critical,CA:${isAuthority}${pathLength}`;
    const lines = ["[extensions]", basic, ...extensions, ""];
    const file = await this.#writeConfiguration(name, lines);
    const config = ["-config", file, "-extensions", "extensions"];
    const request = [
      ...keyOf === undefined && key !== KEY.rsa2048
        ? ["-newkey", ...key, "-nodes", "-keyout", keyFile]
        : ["-key", keyFile],
      "-subj",
      `/CN=${commonName}`,
    ];
    if (from === undefined && to === undefined) {
      const signer = issuer === undefined ? [] : ["-CA", issuer.certFile, "-CAkey", issuer.keyFile];
      const requestOptions = [...signer, ...signOptions, "-days", "10"];
      await this.run(
        "req",
        "-x509",
        ...config,
        ...request,
        ...requestOptions,
        "-out",
        files.certFile,
      );
      return files;
    }
    await Deno.writeTextFile(this.makePath(`${name}.index`), "");
    await this.run("req", "-new", "-config", file, ...request, "-out", `${name}.csr`);
    const signer = issuer === undefined
      ? ["-selfsign", "-keyfile", keyFile]
      : ["-cert", issuer.certFile, "-keyfile", issuer.keyFile];
    const times = [
      "-startdate",
      from ?? "20200101000000Z",
      "-enddate",
      to ?? formatTimeFromNow(10),
    ];
    const io = ["-in", `${name}.csr`, "-out", files.certFile];
    await this.run("ca", "-batch", "-notext", ...config, ...signer, ...times, ...io);
    return files;
  }

  /** Writes the configuration for a certificate, and returns the name of the file. */
  async #writeConfiguration(name: string, lines: readonly string[] = []): Promise<string> {
    const file = `${name}.cnf`;
    await Deno.writeTextFile(this.makePath(file), makeConfiguration(name) + lines.join("\n"));
    return file;
  }

  /** Creates a certificate of version 1, which has no extensions. */
  async createVersion1(name: string, issuer: IssuedCertificate): Promise<IssuedCertificate> {
    const files = {
      certFile: this.makePath(`${name}.pem`),
      keyFile: this.makePath(`${name}.key`),
    };
    const request = ["-newkey", ...KEY.p256, "-nodes", "-keyout", files.keyFile];
    const subject = ["-subj", `/CN=${name}`, "-out", `${name}.csr`];
    await this.run(
      "req",
      "-new",
      "-config",
      await this.#writeConfiguration(name),
      ...request,
      ...subject,
    );
    const signer = ["-CA", issuer.certFile, "-CAkey", issuer.keyFile, "-set_serial", "1"];
    const output = ["-days", "2", "-out", files.certFile];
    await this.run("x509", "-req", "-in", `${name}.csr`, ...signer, ...output);
    return files;
  }

  /** Returns the text of a certificate. */
  show({ certFile }: IssuedCertificate): Promise<string> {
    return this.run("x509", "-in", certFile, "-noout", "-text");
  }

  /** Runs openssl in the directory; returns its output. */
  run(...args: readonly string[]): Promise<string> {
    return runOrThrow(["openssl", ...args], { cwd: this.dir });
  }
}

/** Options that skip a test if openssl is missing. */
export const needsOpenssl = await ignoreUnlessInstalled("openssl");

/** Formats the time after a number of days for openssl. */
export function formatTimeFromNow(days: number): string {
  const time = new Date(Date.now() + days * 86400000).toISOString();
  return `${time.slice(0, 19).replaceAll(/[-:T]/g, "")}Z`;
}

/** Runs a program with some input to its end. */
export async function runWithInput(program: string, args: readonly string[], input: string) {
  await using servingProgram = new ServingProgram(program, args);
  // The program may end before it has read everything.
  await servingProgram.writeInput(input).then(() => servingProgram.endInput()).catch(() => {});
  const result = await servingProgram.waitForEnd();
  return { ...result, code: (await servingProgram.child.status).code };
}

/** A program that serves during a test. Disposing of it kills the program. */
export class ServingProgram extends RunningProcess {
  readonly #writer = this.child.stdin.getWriter();

  constructor(program: string, args: readonly string[]) {
    super(startCommand([program, ...args], { env }));
  }

  /** Starts `openssl s_server` on a free port of 127.0.0.1; returns both. */
  static async startOpenssl(args: readonly string[]) {
    const allArgs = ["s_server", "-accept", "127.0.0.1:0", ...args];
    const program = new ServingProgram("openssl", allArgs);
    const line = await program.waitForStdout(/ACCEPT 127\.0\.0\.1:\d+\n/);
    const [digits] = /\d+\n$/.exec(line)!;
    return { program, port: Number(digits) };
  }

  async writeInput(text: string): Promise<void> {
    await this.#writer.write(encodeLatin1(text));
  }

  async endInput(): Promise<void> {
    await this.#writer.close();
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.abort().catch(() => {});
    await super[Symbol.asyncDispose]();
  }
}
