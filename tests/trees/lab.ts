/**
 * Runs a case: creates its trees, transfers one through a real server, with faults, and compares
 * the files on the disk and the events with the model.
 */

import { Client, type Connection } from "@degu/degu/client";
import {
  downloadTree,
  escapeName,
  FilesApp,
  StatusError,
  TransferError,
  type TreeEntry,
  type TreeEvent,
  type TreeOptions,
  type TreeResult,
  uploadTree,
} from "@degu/degu/files";
import { patch } from "@degu/testing/patching.ts";
import { isReservedName, RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { type App, Server } from "@degu/degu/server";
import {
  type Case,
  type Change,
  NO_LIMIT,
  type Options,
  plansOf,
  type Site,
  type Write,
} from "./cases.ts";
import { Changes, SecondWriter } from "./changes.ts";
import { Objection } from "../fuzz/fuzzer.ts";
import {
  contentOf,
  differences,
  filesIn,
  flatten,
  flattenWhole,
  make,
  type Plan,
  planOf,
  type RawDirectory,
  removeTree,
  run,
  see,
  seeDirectory,
  Stock,
} from "./disk.ts";
import { accepts, miscounts, objections, outcomesOf, prefixes, type Run } from "./model.ts";
import { compare, rsync } from "./rsync.ts";

/** The result of a transfer. */
interface Transferred {
  readonly events: readonly TreeEvent[];
  readonly result: TreeResult | null;
  readonly error: unknown;
  /** Paths that must not be passed to the filter, but were. */
  readonly objections: readonly string[];
}

/** Events during a transfer. */
interface Hooks {
  readonly signal: AbortSignal | undefined;
  readonly triggers: {
    readonly when: Change["when"];
    /** @param compared The path of the file whose prefix is compared or copied. */
    work(isPlanned: boolean, told: readonly TreeEvent[], compared: string): void;
  }[];
}

const PATIENCE_MILLISECONDS = 120_000;

/** Directories and a server, in which cases run one after the other. */
export class Lab implements AsyncDisposable {
  readonly #dir: string;
  /** A small disk that can become full; `null` without one. */
  readonly #small: string | null;
  readonly #stock: Stock;
  readonly #smallStock: Stock | null;
  readonly #server: Server;
  readonly #serving: Promise<void>;
  #app: FilesApp | null = null;
  #running = 0;
  #requests = 0;
  #onRequest: ((count: number, reuses?: boolean) => void) | null = null;
  /** Called when a request arrives that writes files. */
  #onFiles: (() => void) | null = null;
  #reuses = 0;
  /** The path, below the server's root, of the file whose prefix was compared last. */
  #compared = "";
  #cases = 0;
  /** The number of transfers so far. */
  transfers = 0;
  /** The number of files with reused bytes. */
  reused = 0;
  /** Whether file modes restrict this process. */
  readonly isKeptOut: boolean;
  /** Lines of the server's log that report a failure of the server itself. */
  readonly errors: string[] = [];

  constructor(dir: string, small: string | null) {
    this.#dir = Deno.realPathSync(dir);
    this.#small = small === null ? null : Deno.realPathSync(small);
    this.#stock = new Stock(`${this.#dir}/stock`);
    this.isKeptOut = isKeptOut(`${this.#dir}/closed`);
    this.#smallStock = this.#small === null ? null : new Stock(`${this.#small}/stock`);
    const app: App = async (...args) => {
      const [{ headers, path, method, query, body }] = args;
      if (headers["digest-length"] !== undefined) this.#compared = path.join("/");
      const reuses = headers["digest-length"] !== undefined || headers["reuse"] !== undefined;
      this.#running++;
      try {
        this.#onRequest?.(this.#requests++);
        if (reuses) this.#onRequest?.(this.#reuses++, true);
        // A bundle that only creates directories is not chunked.
        const isBundle = query === "bundle=put" && body?.chunked === true;
        // The path of the root is empty, and the path of a directory ends with an empty name.
        if (isBundle || method === "PUT" && (path.at(-1) ?? "") !== "") this.#onFiles?.();
        const answer = await this.#app!.handle(...args);
        if (reuses) this.#onRequest?.(this.#reuses++, true);
        return answer;
      } finally {
        this.#running--;
      }
    };
    // A list that is cut because of a change is requested again.
    const hasListChanged = (message: string) => message.includes("while it was listed");
    const log = (message: string) => {
      if (!hasListChanged(message)) this.errors.push(message);
    };
    const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: log };
    this.#server = new Server(["127.0.0.1", 0], app, { logger });
    this.#serving = this.#server.serveForever();
  }

  /** Runs a case; rejects with an {@linkcode Objection} if it differs from the model. */
  async run(it: Case): Promise<void> {
    const site = this.#prepare(it);
    try {
      const before = this.#surroundings(it, site);
      if (it.fault.is === "nothing") await this.#runPlainly(it, site);
      else await this.#runWithFault(it, site);
      const changed = differences(before, this.#surroundings(it, site));
      if (changed.length > 0) throw objection("outside of the trees", changed);
      if (this.errors.length > 0) throw objection("the server's log", this.errors.splice(0));
    } finally {
      this.errors.splice(0);
      this.#app = null;
      removeTree(site.dir);
      if (this.#small !== null) removeTree(`${this.#small}/case`);
    }
  }

  /** Creates the trees of a case. */
  #prepare(it: Case, write: true | "add" = true): Site {
    const dir = `${this.#dir}/case${this.#cases++}`;
    Deno.mkdirSync(dir);
    const isFilled = it.fault.is === "full" && this.#small !== null;
    const there = isFilled ? `${this.#small}/case` : `${dir}/there`;
    const outside = `${dir}/outside`;
    Deno.mkdirSync(`${outside}/deep`, { recursive: true });
    for (const path of ["secret", "deep/secret", "a"]) {
      Deno.writeFileSync(`${outside}/${path}`, contentOf(99, 64));
    }
    const root = it.download || !isFilled ? `${dir}/root` : `${there}/root`;
    const remote = it.place === "" ? root : `${root}/${it.place}`;
    const real = it.download && isFilled ? `${there}/here` : `${dir}/here`;
    const local = it.linked ? `${dir}/link` : real;
    const beside = it.place === "" ? `${dir}/beside` : `${root}/beside`;
    if (isFilled) Deno.mkdirSync(there);
    Deno.mkdirSync(it.place.includes("/") ? remote.slice(0, remote.lastIndexOf("/")) : root, {
      recursive: true,
    });
    Deno.mkdirSync(beside);
    Deno.writeFileSync(`${beside}/neighbor`, contentOf(98, 80));
    const { source, target } = plansOf(it.pairs, { outside, beside }, it.reuse);
    if (!this.isKeptOut) { for (const plan of [source, target]) open(plan); }
    if (it.sourceEmpty && source.kind === "directory") source.entries.clear();
    const [from, to] = it.download ? [remote, real] : [real, remote];
    const isMissing = it.targetMissing && to !== root;
    if (it.place === "") Deno.removeSync(root);
    make(from, source, this.#stock);
    if (!isMissing) make(to, target, isFilled ? this.#smallStock! : this.#stock);
    else if (it.linked && it.download) Deno.mkdirSync(real);
    if (it.linked) Deno.symlinkSync(real, local);
    this.#app = new FilesApp(root, { list: true, write, reuse: it.reuse });
    const uri = it.place === "" ? "/" : `/${it.place.split("/").map(escapeName).join("/")}/`;
    return { dir, root: Deno.realPathSync(root), remote, uri, local, outside, beside };
  }

  /** Returns the entries next to the trees, which no transfer may change. */
  #surroundings(it: Case, site: Site): Map<string, string> {
    // A part or its record is lost if its directory is replaced by a link while it is written.
    const options = { reserved: true, directoryTimes: it.fault.is !== "changes" };
    const all = flatten(see(site.outside), options);
    for (const [path, text] of flatten(see(site.beside), options)) {
      all.set(`beside/${path}`, text);
    }
    for (const { name } of Deno.readDirSync(site.root)) {
      const isOwn = it.place === "" || name === it.place.split("/")[0];
      if (!isOwn && !isReservedName(name)) all.set(`root/${name}`, "there");
    }
    return all;
  }

  #see(it: Case, site: Site): { source: RawDirectory; target: RawDirectory | null } {
    const [from, to] = it.download ? [site.remote, site.local] : [site.local, site.remote];
    return { source: seeDirectory(from)!, target: seeDirectory(to) };
  }

  async #runPlainly(it: Case, site: Site): Promise<void> {
    const before = this.#see(it, site);
    const untouched = flattenWhole(before.source);
    let target = before.target;
    const told: Transferred[] = [];
    for (const phase of ["dry run", "run", "second run"] as const) {
      const dryRun = phase === "dry run";
      const unfinished = this.#unfinished(site, target);
      const transferred = await this.#transfer(it, site, dryRun);
      const { source, target: after } = this.#see(it, site);
      const changed = differences(untouched, flattenWhole(source));
      if (changed.length > 0) throw objection(`${phase}: the source has changed`, changed);
      this.#judge(it, site, phase, { source: before.source, target, after, dryRun }, transferred);
      if (dryRun) {
        const made = differences(flattenWhole(target), flattenWhole(after));
        if (made.length > 0) throw objection("the dry run has changed the target", made);
      }
      // If a deletion fails, the server keeps the file that was to replace the entry for a day.
      const isKept = (path: string) => path.startsWith("part-") && transferred.result?.failed !== 0;
      const left = this.#unfinished(site, after).filter((path) => {
        return !unfinished.includes(path) && !isKept(path);
      });
      if (left.length > 0) throw objection(`${phase}: left over`, left);
      told.push(transferred);
      target = after;
      if (transferred.result === null) return;
      if (phase === "second run" && told[1]!.result!.failed === 0) {
        const { files, deleted, failed } = transferred.result!;
        // An unreadable file can't be reported as unchanged.
        const isBlind = [...flatten(after).values()].some((text) =>
          /^file .* [0-3]?\d?\d$/.test(text)
        );
        if (files + deleted + failed > 0 && !isBlind) {
          throw objection("the second run did something", [Deno.inspect(transferred.events)]);
        }
      }
    }
    const [dry, real] = told as [Transferred, Transferred];
    if (dry.result!.failed > 0 || real.result!.failed > 0) return;
    const different = differences(outcomeTexts(dry), outcomeTexts(real));
    if (different.length > 0) throw objection("the dry run and the run differ", different);
  }

  /** Compares an undisturbed run with the model. */
  #judge(
    it: Case,
    { root }: Site,
    phase: string,
    states: Pick<Run, "source" | "target" | "after" | "dryRun">,
    { events, result, error, objections: asked }: Transferred,
    isResumed = false,
  ): void {
    if (result === null) {
      if (!isEnded(it, { events, error })) {
        throw objection(`${phase}: rejects`, [Deno.inspect(error)]);
      }
      return;
    }
    const { download, options, reuse } = it;
    const run = { ...states, download, options, reuse, isResumed, root, events, result };
    const found = objections(run);
    found.push(...asked);
    if (found.length === 0) return;
    const failures = events.flatMap((event) => {
      return event.type === "failed" ? [`${event.path.join("/")} failed: ${event.error}`] : [];
    });
    throw objection(phase, [...found, ...failures, Deno.inspect(result)]);
  }

  /** Returns the unfinished files at the target, and in the server's directory for them. */
  #unfinished({ root }: Site, target: RawDirectory | null): string[] {
    const all = [...flatten(target, { reserved: true }).keys()].filter((path) =>
      isReservedName(path.slice(path.lastIndexOf("/") + 1))
    );
    const atServer = flatten(see(`${root}/${RESERVED_DIRECTORY_NAME}`), { reserved: true });
    // A server keeps that directory.
    return [...all, ...atServer.keys()].filter((path) =>
      path !== "" && path !== RESERVED_DIRECTORY_NAME
    );
  }

  async #transfer(
    it: Case,
    site: Site,
    dryRun: boolean,
    { signal, triggers }: Hooks = { signal: undefined, triggers: [] },
  ): Promise<Transferred> {
    const events: TreeEvent[] = [];
    const found: string[] = [];
    const asked = new Map<string, TreeEntry>();
    const timers: ReturnType<typeof setTimeout>[] = [];
    let isPlanned = false;
    const trigger = (what: Change["when"]["on"], count: number) => {
      for (const { when: { on, n }, work } of triggers) {
        const compared = this.#compared.slice(it.place === "" ? 0 : it.place.length + 1);
        if (on === what && n === count) work(isPlanned, events, what === "reuse" ? compared : "");
      }
    };
    const { hidden: _, ...plain } = it.options;
    const options: TreeOptions = {
      ...plain,
      deleteAll: plain.delete && plain.deleteAll,
      dryRun,
      signal,
      filter: (entry) => ask(it.options, entry, asked, found),
      onEvent: (event) => {
        isPlanned ||= event.type === "plan";
        trigger("event", events.length);
        if (event.type === "plan") {
          for (const { when: { on, n }, work } of triggers) {
            if (on === "milliseconds") timers.push(setTimeout(() => work(true, events, ""), n / 2));
          }
        }
        events.push(event);
      },
    };
    this.transfers++;
    this.#requests = this.#reuses = 0;
    this.#onRequest = (count, reuses) => trigger(reuses ? "reuse" : "request", count);
    const client = new Client(this.#server.address, { timeout: 60 });
    let conn: Connection | null = null;
    try {
      if (it.connection) conn = await client.connect();
      const { local, uri } = site;
      const ending = it.download
        ? downloadTree(conn ?? client, uri, local, options)
        : uploadTree(conn ?? client, local, uri, options);
      const result = await patiently(ending, () => [
        `fault ${JSON.stringify(it.fault)}; ${this.#running} requests at the server`,
        ...events.map((event) => Deno.inspect(event)),
      ]);
      this.reused += events.filter((event) => event.type === "copied" && event.reused > 0).length;
      if (!dryRun && isPartial(result)) found.push("the call resolves, and is not complete");
      return { events, result, error: null, objections: found };
    } catch (error) {
      if (error instanceof Objection) throw error;
      if (error instanceof TransferError && error.code === "INCOMPLETE") {
        const { result, cause } = error;
        if (dryRun || !isPartial(result!)) found.push("the call is complete, and rejects");
        const [first] = events.filter((event) => event.type === "failed");
        if (cause !== first?.error) found.push("the cause is not the first error");
        return { events, result, error: null, objections: found };
      }
      return { events, result: null, error, objections: found };
    } finally {
      this.#onRequest = null;
      for (const timer of timers) clearTimeout(timer);
      conn?.close();
      await this.#settle();
    }
  }

  /** Closes all connections. */
  #cut(): void {
    for (const session of this.#server.sessions) session.close(new Error("cut"));
  }

  /** Waits until the server has no running requests. */
  async #settle(): Promise<void> {
    const end = performance.now() + PATIENCE_MILLISECONDS;
    while (this.#running > 0 || this.#server.sessions.size > 0) {
      if (performance.now() > end) throw new Objection("the server works on and on");
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /**
   * Transfers a case's trees twice, with a new source in between, and does the same with rsync;
   * returns the names of the intended differences.
   */
  async compareWithRsync(it: Case, next: Case["pairs"]): Promise<string[]> {
    const options: Options = {
      ...it.options,
      compare: "time",
      replace: true,
      delete: true,
      maxDelete: NO_LIMIT,
      hidden: { names: [], kind: null },
    };
    const asRsync: Case = { ...it, options, targetMissing: false, fault: { is: "nothing" } };
    const site = this.#prepare(asRsync);
    const meant: string[] = [];
    try {
      const from = it.download ? site.remote : site.local;
      const theirs = `${site.dir}/rsync`;
      for (const round of ["at first", "with another source"]) {
        const { source, target: before } = this.#see(it, site);
        make(theirs, planOf(before!), this.#stock);
        const { result, error, events } = await this.#transfer(asRsync, site, false);
        if (result === null && isEnded(it, { events, error })) break;
        if (result === null) throw objection(`${round}: rejects`, [Deno.inspect(error)]);
        const code = rsync(from, theirs);
        const failed = events.flatMap((event) => {
          return event.type === "failed" ? event.path.join("/") : [];
        });
        const { named, unnamed } = compare({
          download: it.download,
          root: site.root,
          source,
          before: before!,
          ours: this.#see(it, site).target!,
          theirs: seeDirectory(theirs)!,
          result,
          failed: new Set(failed),
          code,
        });
        if (unnamed.length > 0) {
          throw objection(`${round}: differs from rsync, code ${code}`, [
            ...unnamed,
            Deno.inspect(result),
            ...failed,
          ]);
        }
        meant.push(...named);
        removeTree(theirs);
        const { source: plan } = plansOf(next, site, it.reuse, 500);
        if (!this.isKeptOut) open(plan);
        if (from === site.root || plan.kind !== "directory") continue;
        const real = Deno.realPathSync(from);
        removeTree(real);
        make(real, plan, this.#stock);
      }
      return meant;
    } finally {
      this.errors.splice(0);
      this.#app = null;
      removeTree(site.dir);
    }
  }

  /**
   * Moves the source of a case in two passes. In the first pass connections are cut, and a second
   * writer replaces files of the target at each request with files; its files must stay.
   * Afterwards, each file is unchanged at the source, or at the target with the same content, and
   * other entries of the target stay. Returns how many files were moved, and how many the second
   * writer wrote.
   */
  async checkMove(it: Case, writes: readonly Write[]): Promise<readonly [number, number]> {
    const asMove: Case = { ...it, download: false, targetMissing: false, fault: { is: "nothing" } };
    const site = this.#prepare(asMove);
    const { now } = Date;
    Date.now = () => now() + 10_000;
    // The pauses before retries.
    using _pauses = patch(globalThis, "setTimeout", (setTimeout) => {
      const fast = (run: () => void, ms = 0) => {
        return setTimeout(run, ms === 1000 || ms === 2000 ? 1 : ms);
      };
      return fast as typeof setTimeout;
    });
    let moved = 0, written = 0;
    try {
      for (const isFirst of [true, false]) {
        const cutAt = isFirst ? 1 + it.pairs.length % 4 : Infinity;
        const before = this.#see(asMove, site);
        const [ours, theirs] = [filesIn(before.source), filesIn(before.target)];
        const writer = new SecondWriter(asMove, site, before.source);
        const events: TreeEvent[] = [];
        const removed: string[] = [];
        let fileRequests = 0;
        this.#requests = 0;
        this.#onRequest = (count, reuses) => {
          // Each file has several attempts, and some attempts retry the whole call.
          if (!reuses && count >= cutAt && count < cutAt + 3) this.#cut();
        };
        this.#onFiles = () => {
          const n = fileRequests++;
          for (const write of isFirst ? writes : []) {
            if (write.when.n === n) writer.write(write, events);
          }
        };
        const moving = uploadTree(new Client(this.#server.address), site.local, site.uri, {
          move: true,
          replace: it.options.replace,
          connections: it.options.connections,
          retries: 2,
          onEvent: (event) => {
            events.push(event);
            if (event.type === "removed") removed.push(event.path.join("/"));
          },
        });
        await patiently(moving.catch(() => {}), () => ["a move"]);
        this.transfers++;
        await this.#settle();
        const after = this.#see(asMove, site);
        const [here, there] = [filesIn(after.source), filesIn(after.target)];
        const wrong = writer.objections(events, there);
        for (const [path, { key }] of ours) {
          const isHere = here.get(path)?.key === key && !removed.includes(path);
          const isThere = there.get(path)?.key === key || writer.hasReplacedCopy(path);
          if (!isHere && (here.has(path) || !isThere)) wrong.push(`${path} is lost`);
        }
        for (const [path, { key }] of theirs) {
          const now = there.get(path)?.key;
          const isReplaced = it.options.replace && now === ours.get(path)?.key;
          if (now !== key && !isReplaced && !writer.hasTouched(path)) {
            wrong.push(`${path} there is lost`);
          }
        }
        if (wrong.length > 0) {
          throw objection(`a move, cut at ${cutAt}`, [
            ...wrong,
            ...events.map((event) => Deno.inspect(event)),
          ]);
        }
        moved += removed.length;
        written += writer.count;
      }
      return [moved, written];
    } finally {
      Date.now = now;
      this.#onRequest = this.#onFiles = null;
      this.errors.splice(0);
      this.#app = null;
      removeTree(site.dir);
    }
  }

  /**
   * Copies a case's tree while a second writer replaces files of the target. The files of the
   * second writer must stay, and each file that is reported as copied must exist. This user can
   * read all entries, because unreadable entries have no size and time in a list. Resolves to the
   * number of written files.
   */
  async checkWriter(it: Case, writes: readonly Write[]): Promise<number> {
    const asWritten: Case = { ...it, targetMissing: false, fault: { is: "nothing" } };
    const site = this.#prepare(asWritten);
    try {
      const before = this.#see(asWritten, site);
      const writer = new SecondWriter(asWritten, site, before.source);
      const triggers = writes.map((write) => {
        return {
          when: write.when,
          work: (isPlanned: boolean, told: readonly TreeEvent[]) => {
            if (isPlanned) writer.write(write, told);
          },
        };
      });
      const transferred = await this.#transfer(asWritten, site, false, {
        signal: undefined,
        triggers,
      });
      const { result, error, events } = transferred;
      const after = this.#see(asWritten, site);
      const found = writer.objections(events, filesIn(after.target));
      found.push(...differences(flattenWhole(before.source), flattenWhole(after.source)));
      // The server closes the connection after a refusal, and a `Connection` can't reconnect.
      if (result === null && !it.connection) found.push(Deno.inspect(error));
      if (result !== null) found.push(...miscounts(events, result));
      if (found.length > 0) {
        throw objection("with a second writer", [
          ...found,
          ...events.map((it) => Deno.inspect(it)),
        ]);
      }
      await this.#runAgain({ ...asWritten, fault: { is: "changes", changes: [] } }, site, after);
      return writer.count;
    } finally {
      this.errors.splice(0);
      this.#app = null;
      removeTree(site.dir);
    }
  }

  /**
   * Uploads a case's tree to an add-only app in two passes, the first of which loses its
   * connections. Existing entries must be unchanged, and each file that is reported as copied must
   * exist. Resolves to the number of added files.
   */
  async checkAdd(it: Case): Promise<number> {
    const options = { ...it.options, delete: false };
    const asAdd: Case = { ...it, options, download: false, fault: { is: "nothing" } };
    const site = this.#prepare(asAdd, "add");
    let added = 0;
    try {
      for (const cutAt of [1 + it.pairs.length % 4, Infinity]) {
        const before = this.#see(asAdd, site);
        const hooks: Hooks = {
          signal: undefined,
          triggers: [{ when: { on: "request", n: cutAt }, work: () => this.#cut() }],
        };
        const { events, result } = await this.#transfer(asAdd, site, false, hooks);
        const after = this.#see(asAdd, site);
        const now = flatten(after.target);
        const wrong = differences(flattenWhole(before.source), flattenWhole(after.source));
        for (const [path, text] of flatten(before.target)) {
          if (now.get(path) !== text) wrong.push(`${path} was ${text}, is ${now.get(path)}`);
        }
        const [ours, theirs] = [filesIn(after.source), filesIn(after.target)];
        const outcomes = outcomesOf(events);
        for (const [path, { key }] of ours) {
          const [outcome] = outcomes.get(path) ?? [];
          const isSame = theirs.get(path)?.key === key;
          if (outcome === "copied" && !isSame) wrong.push(`${path} was copied, and is not there`);
          if (outcome !== undefined || result === null) continue;
          // Entries below a skipped or failed directory are not reported themselves.
          const isLeftOut = prefixes(path).some((each) => {
            return outcomes.has(each) ||
              asAdd.options.hidden.names.includes(each.split("/").at(-1)!);
          });
          if (!isLeftOut && asAdd.options.hidden.kind === null) {
            wrong.push(`${path} is not told of`);
          }
        }
        if (result !== null) wrong.push(...miscounts(events, result));
        if (wrong.length > 0) {
          throw objection(`files are added, cut at ${cutAt}`, [
            ...wrong,
            ...events.map((it) => Deno.inspect(it)),
          ]);
        }
        added += events.filter(({ type }) => type === "copied").length;
      }
      return added;
    } finally {
      this.errors.splice(0);
      this.#app = null;
      removeTree(site.dir);
    }
  }

  async #runWithFault(it: Case, site: Site): Promise<void> {
    const before = this.#see(it, site);
    const { fault } = it;
    const record = new Changes(it, site, before, this.#stock, this.isKeptOut);
    const controller = new AbortController();
    const reason = new Error("stopped");
    const hooks: Hooks = { signal: controller.signal, triggers: [] };
    if (fault.is === "changes") {
      for (const change of fault.changes) {
        const work: Hooks["triggers"][number]["work"] = (isPlanned, _told, compared) => {
          record.make(change, isPlanned, compared);
        };
        hooks.triggers.push({ when: change.when, work });
      }
    } else if (fault.is === "abort") {
      hooks.triggers.push({ when: fault.when, work: () => controller.abort(reason) });
    } else if (fault.is === "cut") {
      hooks.triggers.push({ when: fault.when, work: () => this.#cut() });
    }
    let ballast: string | null = null;
    if (fault.is === "full" && this.#small !== null) {
      ballast = `${this.#small}/ballast`;
      fill(ballast, this.#small, fault.kibibytes);
    }
    const transferred = await this.#transfer(it, site, false, hooks);
    if (ballast !== null) Deno.removeSync(ballast);
    const { result, error } = transferred;
    if (fault.is === "abort" && controller.signal.aborted && result === null && error !== reason) {
      throw objection("rejects with something else than the signal's reason", [
        Deno.inspect(error),
      ]);
    }
    if (result === null && fault.is === "cut" && it.options.retries > 0 && !it.connection) {
      throw objection("a cut made the whole reject", [Deno.inspect(error)]);
    }
    if (result === null && fault.is === "changes" && !it.connection) {
      throw objection("changes made the whole reject", [Deno.inspect(error)]);
    }
    const now = this.#see(it, site);
    const found = record.objections(transferred.events, result, now.source, now.target);
    found.push(...transferred.objections);
    if (found.length > 0) {
      throw objection(`with the fault ${Deno.inspect(fault, { depth: 9 })}`, [
        ...found,
        Deno.inspect(result ?? error),
        ...transferred.events.map((event) => Deno.inspect(event)),
      ]);
    }
    if (fault.is !== "changes") this.errors.splice(0);
    await this.#runAgain(it, site, now);
  }

  /** Runs the same call after a fault; it must have the result of an undisturbed run. */
  async #runAgain(
    it: Case,
    site: Site,
    before: { source: RawDirectory; target: RawDirectory | null },
  ): Promise<void> {
    const transferred = await this.#transfer(it, site, false);
    const { source, target } = this.#see(it, site);
    const changed = differences(flattenWhole(before.source), flattenWhole(source));
    if (changed.length > 0) throw objection("run again: the source has changed", changed);
    // Bytes that the first run has transferred are not transferred again.
    const isResumed = it.fault.is !== "changes";
    this.#judge(
      it,
      site,
      "run again",
      { ...before, after: target, dryRun: false },
      transferred,
      isResumed,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await this.#serving;
  }
}

function isPartial({ failed, deletionsSkipped }: TreeResult): boolean {
  return failed > 0 || deletionsSkipped !== null;
}

function isKeptOut(path: string): boolean {
  Deno.writeTextFileSync(path, "", { mode: 0 });
  try {
    Deno.openSync(path).close();
    return false;
  } catch {
    return true;
  } finally {
    Deno.removeSync(path);
  }
}

/** Removes modes that have no effect from a plan. */
function open(plan: Plan): void {
  if (plan.kind === "file") plan.mode |= 0o400;
  if (plan.kind !== "directory") return;
  plan.mode = 0o755;
  for (const entry of plan.entries.values()) open(entry);
}

/**
 * Whether a transfer may have ended early: a server may close a connection after a refusal, and a
 * `Connection` can't reconnect. Then the refusal of a separately requested file is the error of the
 * whole call.
 */
function isEnded(
  { connection }: Case,
  { events, error }: Pick<Transferred, "events" | "error">,
): boolean {
  const cause = error instanceof TransferError ? error.cause : error;
  return connection &&
    (cause instanceof StatusError || events.some(({ type }) => type === "failed"));
}

function objection(where: string, what: readonly string[]): Objection {
  return new Objection(`${where}:\n  ${what.slice(0, 12).join("\n  ")}`);
}

function outcomeTexts({ events }: Transferred): Map<string, string> {
  return new Map([...outcomesOf(events)].map(([path, outcomes]) => [path, outcomes.join()]));
}

async function patiently<T>(promise: Promise<T>, state: () => string[]): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(objection("it does not end", state())),
    PATIENCE_MILLISECONDS,
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Calls a filter, and records entries that must not be passed to it. */
function ask(
  options: Options,
  entry: TreeEntry,
  asked: Map<string, TreeEntry>,
  found: string[],
): boolean {
  const key = entry.path.join("/");
  if (entry.name !== entry.path.at(-1)) found.push(`the filter gets ${Deno.inspect(entry)}`);
  if (entry.reason !== "name") {
    // An obstacle has the path of the entry, and another kind.
    const before = asked.get(key);
    if (before?.kind === entry.kind) found.push(`the filter is asked twice about ${key}`);
    if (before === undefined) asked.set(key, entry);
  }
  for (const path of prefixes(key).slice(0, -1)) {
    const parent = asked.get(path);
    if (parent === undefined) found.push(`the filter is asked about ${key} before its parent`);
    else if (!accepts(options, parent)) {
      found.push(`the filter is asked about ${key}, which lies in what it refused`);
    }
  }
  return accepts(options, entry);
}

/** Limits the space of a disk. */
function fill(path: string, disk: string, kibibytes: number): void {
  const free = Number(run("df", "--output=avail", "-k", disk).split("\n")[1]);
  using file = Deno.createSync(path);
  const piece = new Uint8Array(65536);
  for (let left = (free - kibibytes) * 1024; left > 0;) {
    left -= file.writeSync(left < piece.length ? piece.subarray(0, left) : piece);
  }
}
