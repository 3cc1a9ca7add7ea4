/** Other processes and an unreliable network during the transfer of a row. */

import type { Request, Session } from "@degu/degu";
import { ChunkedBodyIter } from "@degu/degu/base";
import type { FilesApp } from "@degu/degu/files";
import { patch } from "@degu/testing/patching.ts";
import type { Script, ScriptedChange } from "./cases.ts";
import { append } from "./changes.ts";
import type { Lie } from "./lies.ts";
import { contentOf, type Raw, REQUESTED_ALONE_FROM_BYTES, see } from "./disk.ts";

type ResponseTuple = Awaited<ReturnType<FilesApp["handle"]>>;

/** A change of another process, and the entry that it has left. */
export interface MadeChange extends ScriptedChange {
  readonly left: Raw | null;
}

export class FaultInjector implements Disposable {
  readonly changes: MadeChange[] = [];
  /** The response to the requests with lies. */
  lie: Lie | null = null;
  readonly #script: Script;
  readonly #roots: Readonly<Record<ScriptedChange["side"], string>>;
  readonly #knownUris = new Set<string>();
  readonly #pauses: Disposable;
  #hasCut = false;
  #hasPaused = false;

  /** @param roots The paths of both trees. */
  constructor(script: Script, roots: Readonly<Record<ScriptedChange["side"], string>>) {
    this.#script = script;
    this.#roots = roots;
    this.#pauses = patch(globalThis, "setTimeout", (setTimeout) => {
      const fast = (run: () => void, milliseconds = 0) => {
        // The server also has a timer of one second.
        if (!this.#hasCut || milliseconds !== 1000) return setTimeout(run, milliseconds);
        if (!this.#hasPaused) this.#makeChanges("pause", () => true);
        this.#hasPaused = true;
        return setTimeout(run, 1);
      };
      return fast as typeof setTimeout;
    });
  }

  /**
   * Passes a request to the server's app.
   *
   * @param isWrite Whether the request has files.
   */
  async relay(
    request: Request,
    session: Session | null,
    isWrite: boolean,
    respond: () => Promise<ResponseTuple>,
  ): Promise<ResponseTuple> {
    const { method, query, body } = request;
    const response = this.#makeRefusal(request, isWrite) ?? this.#makeLie(query);
    if (response === null) {
      return isWrite ? await this.#relayWrite(request, session, respond) : respond();
    }
    if (body?.used === false) await body.bytes();
    const [status, reason, headers, bytes] = response;
    return [status, reason, headers, method === "HEAD" ? null : bytes];
  }

  #makeRefusal({ method, uri }: Request, isWrite: boolean): ResponseTuple | null {
    const { refused } = this.#script;
    const isRefused = refused?.paths?.some((path) => method !== "POST" && uri.endsWith(`/${path}`));
    if (refused === null || !(isRefused ?? isWrite)) return null;
    return [refused.status, "Refused", {}, new Uint8Array(0)];
  }

  #makeLie(query: string | null): ResponseTuple | null {
    if (this.lie === null || query !== this.#script.lies) return null;
    const [type, ...pieces] = this.lie;
    const chunks = pieces.map((piece) =>
      typeof piece === "string" ? new TextEncoder().encode(piece) : piece
    );
    const body = new ChunkedBodyIter(
      [...chunks, new Uint8Array(0)].map((chunk) => [null, chunk] as const),
    );
    return [200, "OK", { "content-type": type }, body];
  }

  async #relayWrite(
    { uri, query }: Request,
    session: Session | null,
    respond: () => Promise<ResponseTuple>,
  ): Promise<ResponseTuple> {
    const isFirst = !this.#knownUris.has(uri);
    this.#knownUris.add(uri);
    const isSent = (path: string) =>
      query === null ? uri.endsWith(`/${path}`) : this.#isSmall(path);
    const { lost, isCutUntilPause } = this.#script;
    const isLost = lost !== null && (isCutUntilPause ? !this.#hasPaused : isFirst);
    if (isFirst) this.#makeChanges("sent", isSent);
    const response = isLost && lost === "request" ? null : await respond();
    if (response === null || isLost) {
      this.#hasCut = true;
      const error = new Error("the connection is cut");
      session?.close(error);
      throw error;
    }
    if (isFirst) this.#makeChanges("stored", isSent);
    return response;
  }

  #isSmall(path: string): boolean {
    const entry = see(`${this.#roots.source}/${path}`);
    return entry?.kind === "file" && entry.size < REQUESTED_ALONE_FROM_BYTES;
  }

  #makeChanges(moment: ScriptedChange["moment"], isSent: (path: string) => boolean): void {
    for (const change of this.#script.changes) {
      if (change.moment !== moment || !isSent(change.path)) continue;
      const path = `${this.#roots[change.side]}/${change.path}`;
      makeChange(change.what, path);
      this.changes.push({ ...change, left: see(path) });
    }
  }

  [Symbol.dispose](): void {
    this.#pauses[Symbol.dispose]();
  }
}

function makeChange(what: ScriptedChange["what"], path: string): void {
  switch (what) {
    case "append":
      return append(path);
    case "write":
      return Deno.writeFileSync(path, contentOf(7000, 90));
    case "touch":
      return Deno.utimeSync(path, 1, 1);
    case "remove":
      return Deno.removeSync(path);
    case "directory":
      Deno.removeSync(path);
      return Deno.mkdirSync(path);
    case "replace": {
      const { size, mtime } = Deno.statSync(path);
      const newPath = path.replace(/[^/]*$/, ".replacing");
      Deno.writeFileSync(newPath, contentOf(7001, size));
      Deno.utimeSync(newPath, mtime!, mtime!);
      return Deno.renameSync(newPath, path);
    }
  }
}
