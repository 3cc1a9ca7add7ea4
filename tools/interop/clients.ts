/**
 * The clients that send requests to a Degu server, each as a command.
 *
 * @module
 */

/** What a client is asked to do. */
export type Operation =
  | "get"
  | "null"
  | "put"
  | "chunked"
  | "delete"
  | "range"
  | "keep-alive"
  | "mtls";

/** The files for TLS with a client certificate. */
export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** The certificate and its key once more, for Java. */
  readonly pkcs12: string;
}

/** A client: the command for an operation, or `null` if it has no such operation. */
export interface ForeignClient {
  readonly name: string;
  command(operation: Operation, url: string, tls?: TlsFiles): readonly string[] | null;
}

const HERE = import.meta.dirname ?? "";

const curl: ForeignClient = {
  name: "curl",
  command(operation, url, tls) {
    const files = tls ? ["--cacert", tls.ca, "--cert", tls.cert, "--key", tls.key] : [];
    const args: Partial<Record<Operation, string[]>> = {
      put: ["-X", "PUT", "-d", "hello"],
      chunked: ["-X", "PUT", "-d", "hello", "-H", "Transfer-Encoding: chunked"],
      delete: ["-X", "DELETE"],
      range: ["-r", "2-4"],
      "keep-alive": [url],
    };
    return ["curl", "-sS", "--fail", ...files, ...args[operation] ?? [], url];
  },
};

const wget: ForeignClient = {
  name: "wget",
  command(operation, url, tls) {
    if (operation === "chunked") return null;
    const files = tls
      ? [`--ca-certificate=${tls.ca}`, `--certificate=${tls.cert}`, `--private-key=${tls.key}`]
      : [];
    const args: Partial<Record<Operation, string[]>> = {
      put: ["--method=PUT", "--body-data=hello"],
      delete: ["--method=DELETE"],
      range: ["--header=Range: bytes=2-4"],
      "keep-alive": [url],
    };
    return ["wget", "-nv", "--tries=1", "-O", "-", ...files, ...args[operation] ?? [], url];
  },
};

/** A library of Python; a Python is given that has it. */
export function pythonClient(python: string, library: string): ForeignClient {
  return {
    name: library,
    command: (operation, url, tls) => [
      python,
      `${HERE}/client.py`,
      library,
      operation,
      url,
      ...tls ? [tls.ca, tls.cert, tls.key] : [],
    ],
  };
}

function nodeClient(library: "fetch" | "http"): ForeignClient {
  return {
    name: library === "fetch" ? "Node fetch" : "node:http",
    command: (operation, url, tls) =>
      tls && library === "fetch" ? null : [
        "node",
        `${HERE}/client.mjs`,
        library,
        operation,
        url,
        ...tls ? [tls.ca, tls.cert, tls.key] : [],
      ],
  };
}

/** Go's client, from a program that `go build` has made. */
export function goClient(program: string): ForeignClient {
  return {
    name: "Go net/http",
    command: (operation, url, tls) => [
      program,
      operation,
      url,
      ...tls ? [tls.ca, tls.cert, tls.key] : [],
    ],
  };
}

/** One of Java's clients, from the class that `javac` has put into a directory. */
export function javaClient(directory: string, library: string): ForeignClient {
  return {
    name: `Java ${library}`,
    command: (operation, url, tls) => [
      "java",
      "-cp",
      directory,
      "Client",
      library,
      operation,
      url,
      ...tls ? [tls.ca, tls.pkcs12] : [],
    ],
  };
}

/** The clients that need nothing but their program. */
export const SIMPLE_CLIENTS: readonly ForeignClient[] = [
  curl,
  wget,
  nodeClient("fetch"),
  nodeClient("http"),
];
