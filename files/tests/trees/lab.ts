/**
 * Runs a case: creates its trees, transfers one through a real server, with faults, and compares
 * the files on the disk and the events with the model.
 */

import { Client, type Connection } from "@degu/degu/client";
import {
  downloadTree,
  FilesApp,
  fileUri,
  StatusError,
  TransferError,
  type TreeEntry,
  type TreeEvent,
  type TreeResult,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { HoldingRelay } from "../holding_relay.ts";
import { patch } from "@degu/testing/patching.ts";
import { isReservedName, RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { type App, Server } from "@degu/degu/server";
import {
  type Case,
  type Change,
  type Options,
  plansOf,
  type Script,
  type Site,
  type Write,
} from "./cases.ts";
import { Changes, SecondWriter } from "./changes.ts";
import { Objection } from "../../../tests/fuzz/fuzzer.ts";
import {
  contentOf,
  differences,
  filesIn,
  flatten,
  flattenWhole,
  make,
  modeOf,
  type Plan,
  planOf,
  type RawDirectory,
  removeTree,
  run,
  see,
  seeDirectory,
  Stock,
} from "./disk.ts";
import { accepts, Judge, miscounts, outcomesOf, prefixes, type Run } from "./model.ts";
import { LIES } from "./lies.ts";
import { compare, rsync } from "./rsync.ts";
import { FaultInjector } from "./fault_injector.ts";
import { MOVE, parseTree } from "./text_trees.ts";

/** The result of a transfer. */
interface Transferred {
  readonly events: readonly TreeEvent[];
  readonly result: TreeResult | null;
  readonly error: unknown;
  /** Paths that must not be passed to the filter, but were. */
  readonly objections: readonly string[];
  readonly reuseRequests: Run["reuseRequests"];
  readonly filteredPaths: Iterable<string>;
}

/** Events during a transfer. */
interface Hooks {
  readonly signal?: AbortSignal;
  readonly triggers: {
    readonly when: Change["when"];
    /** @param compared The path of the file whose prefix is compared or copied. */
    work(isPlanned: boolean, events: readonly TreeEvent[], compared: string): void;
  }[];
}

const NO_FILTER: Options["hidden"] = { names: [], kind: null };
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
  #faultInjector: FaultInjector | null = null;
  /** The index of a request that is refused, and its status. */
  #refusal: { readonly request: number; readonly status: number } | null = null;
  /** The number of connections with a request that the network delays. */
  #heldConnectionCount = 0;
  /** The number of delayed requests so far. */
  #delayedRequestCount = 0;
  #reuses = 0;
  /** The requests of a transfer that compare or copy bytes, before the file itself is requested. */
  #reuseRequests: [method: string, path: string][] = [];
  readonly #requestedPaths = new Set<string>();
  /** The path, below the server's root, of the file whose prefix was compared last. */
  #compared = "";
  #cases = 0;
  /** The paths of mounted disks; `null` if no disks are mounted at directories of targets. */
  #mountPaths: string[] | null = null;
  /** The number of disks that were mounted at directories of targets. */
  mounts = 0;
  /** The number of transfers so far. */
  transfers = 0;
  /** The number of files with reused bytes. */
  reused = 0;
  /** Whether file modes restrict this process. */
  readonly isRestricted: boolean;
  readonly #newFileMode: number;
  /** Lines of the server's log that report a failure of the server itself. */
  readonly errors: string[] = [];

  constructor(dir: string, small: string | null) {
    this.#dir = Deno.realPathSync(dir);
    this.#small = small === null ? null : Deno.realPathSync(small);
    this.#stock = new Stock(`${this.#dir}/stock`);
    this.isRestricted = isRestricted(`${this.#dir}/closed`);
    this.#newFileMode = newFileMode(`${this.#dir}/new`);
    this.#smallStock = this.#small === null ? null : new Stock(`${this.#small}/stock`);
    const app: App = async (...args) => {
      const [{ headers, path, method, query, body }] = args;
      if (headers["digest-length"] !== undefined) this.#compared = path.join("/");
      const reuses = headers["digest-length"] !== undefined || headers["reuse"] !== undefined;
      if (method === "GET") this.#requestedPaths.add(path.join("/"));
      if (reuses && !this.#requestedPaths.has(path.join("/"))) {
        this.#reuseRequests.push([method, path.join("/")]);
      }
      this.#running++;
      try {
        const index = this.#requests++;
        this.#onRequest?.(index);
        if (this.#refusal?.request === index) {
          if (body?.used === false) await body.bytes();
          const bytes = method === "HEAD" ? null : new Uint8Array(0);
          return [this.#refusal.status, "Refused", {}, bytes];
        }
        if (reuses) this.#onRequest?.(this.#reuses++, true);
        // A bundle that only creates directories is not chunked.
        const isBundle = query === "bundle=put" && body?.chunked === true;
        // The path of the root is empty, and the path of a directory ends with an empty name.
        const isWrite = isBundle || method === "PUT" && (path.at(-1) ?? "") !== "";
        if (isWrite) this.#onFiles?.();
        const respond = () => this.#app!.handle(...args);
        const [request, session] = args;
        const response = await (this.#faultInjector?.relay(request, session, isWrite, respond) ??
          respond());
        if (reuses) this.#onRequest?.(this.#reuses++, true);
        return response;
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
  async run(testCase: Case): Promise<void> {
    const site = this.#prepare(testCase);
    try {
      const surroundings = this.#surroundings(testCase, site);
      const { script } = testCase;
      // Only files that haven't changed for some seconds are moved.
      using _clock = script?.move ? patch(Date, "now", (now) => () => now() + 10_000) : null;
      if (script?.isLate) await this.#runLate(testCase, site);
      else if (script !== undefined && (hasLosses(script) || script.changes.length > 0)) {
        await this.#runScript(testCase, site, script);
      } else if (testCase.fault.is === "nothing") await this.#runPlainly(testCase, site);
      else await this.#runWithFault(testCase, site);
      const changes = differences(surroundings, this.#surroundings(testCase, site));
      throwIfAny("outside of the trees", changes);
      throwIfAny("the server's log", this.errors.splice(0));
    } finally {
      this.errors.splice(0);
      this.#app = this.#faultInjector = this.#refusal = null;
      this.#unmountAll();
      removeTree(site.dir);
      if (this.#small !== null) removeTree(`${this.#small}/case`);
    }
  }

  /**
   * Runs a case in which other disks are mounted at directories of the target. They are in the
   * source also, so that they are not deleted.
   */
  async checkMounted(testCase: Case): Promise<void> {
    this.#mountPaths = [];
    try {
      await this.run(testCase);
    } finally {
      this.#unmountAll();
      this.#mountPaths = null;
    }
  }

  /** Mounts a disk at every second directory of a target that the source has also. */
  #mountInside(target: string, source: Plan): (path: string) => void {
    const mountPaths = this.#mountPaths;
    if (mountPaths === null) return () => {};
    let count = 0;
    return (path) => {
      const names = path.slice(target.length + 1).split("/");
      const isShared = names.reduce<Plan | undefined>(
        (plan, name) => plan?.kind === "directory" ? plan.entries.get(name) : undefined,
        source,
      )?.kind === "directory";
      if (path === target || !isShared || count++ % 2 === 1) return;
      run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path);
      mountPaths.push(path);
      this.mounts++;
    };
  }

  #unmountAll(): void {
    for (const path of this.#mountPaths?.splice(0).reverse() ?? []) run("umount", "--lazy", path);
  }

  /** Creates the trees of a case. */
  #prepare(testCase: Case, write: true | "add" = testCase.script?.write ?? true): Site {
    const dir = `${this.#dir}/case${this.#cases++}`;
    Deno.mkdirSync(dir);
    const isFilled = testCase.fault.is === "full" && this.#small !== null;
    const serverDir = isFilled ? `${this.#small}/case` : `${dir}/there`;
    const outside = `${dir}/outside`;
    Deno.mkdirSync(`${outside}/deep`, { recursive: true });
    for (const path of ["secret", "deep/secret", "a"]) {
      Deno.writeFileSync(`${outside}/${path}`, contentOf(99, 64));
    }
    const root = testCase.download || !isFilled ? `${dir}/root` : `${serverDir}/root`;
    const remote = testCase.place === "" ? root : `${root}/${testCase.place}`;
    const real = testCase.download && isFilled ? `${serverDir}/here` : `${dir}/here`;
    const local = testCase.linked ? `${dir}/link` : real;
    const besideDir = testCase.place === "" ? `${dir}/beside` : `${root}/beside`;
    if (isFilled) Deno.mkdirSync(serverDir);
    Deno.mkdirSync(testCase.place.includes("/") ? remote.slice(0, remote.lastIndexOf("/")) : root, {
      recursive: true,
    });
    Deno.mkdirSync(besideDir);
    Deno.writeFileSync(`${besideDir}/neighbor`, contentOf(98, 80));
    const { source, target } = testCase.trees === undefined
      ? plansOf(testCase.pairs, { outside, beside: besideDir }, testCase.reuse)
      : { source: parseTree(testCase.trees.source), target: parseTree(testCase.trees.target) };
    if (!this.isRestricted) { for (const plan of [source, target]) removeUselessModes(plan); }
    if (testCase.sourceEmpty && source.kind === "directory") source.entries.clear();
    const [sourcePath, targetPath] = testCase.download ? [remote, real] : [real, remote];
    const isMissing = testCase.targetMissing && targetPath !== root;
    if (testCase.place === "") Deno.removeSync(root);
    make(sourcePath, source, this.#stock);
    const stock = isFilled ? this.#smallStock! : this.#stock;
    if (!isMissing) make(targetPath, target, stock, this.#mountInside(targetPath, source));
    else if (testCase.linked && testCase.download) Deno.mkdirSync(real);
    if (testCase.linked) Deno.symlinkSync(real, local);
    const list = testCase.script?.list ?? true;
    this.#app = new FilesApp(root, { list, write, reuse: testCase.reuse });
    const uri = testCase.place === "" ? "/" : fileUri(...testCase.place.split("/"), "");
    return { dir, root: Deno.realPathSync(root), remote, uri, local, outside, beside: besideDir };
  }

  #remove(site: Site): void {
    this.errors.splice(0);
    this.#app = null;
    removeTree(site.dir);
  }

  /** Returns the entries next to the trees, which no transfer may change. */
  #surroundings(testCase: Case, site: Site): Map<string, string> {
    // A part or its record is lost if its directory is replaced by a link while it is written.
    const options = { reserved: true, directoryTimes: testCase.fault.is !== "changes" };
    const surroundings = flatten(see(site.outside), options);
    for (const [path, text] of flatten(see(site.beside), options)) {
      surroundings.set(`beside/${path}`, text);
    }
    for (const { name } of Deno.readDirSync(site.root)) {
      const isOwn = testCase.place === "" || name === testCase.place.split("/")[0];
      if (!isOwn && !isReservedName(name)) surroundings.set(`root/${name}`, "there");
    }
    return surroundings;
  }

  #see(testCase: Case, site: Site): { source: RawDirectory; target: RawDirectory | null } {
    const [sourcePath, targetPath] = testCase.download
      ? [site.remote, site.local]
      : [site.local, site.remote];
    return { source: seeDirectory(sourcePath)!, target: seeDirectory(targetPath) };
  }

  async #runPlainly(testCase: Case, site: Site): Promise<void> {
    let { source, target } = this.#see(testCase, site);
    const transfers: Transferred[] = [];
    for (const phase of ["dry run", "run", "second run", "third run"] as const) {
      // Only entries in the way need a third run to show that nothing remains to be done.
      if (phase === "third run" && transfers[1]!.result!.failed === 0) break;
      const dryRun = phase === "dry run";
      const unfinished = this.#unfinished(site, target);
      const transferred = await this.#transfer(testCase, site, dryRun);
      const { source: sourceAfter, target: targetAfter } = this.#see(testCase, site);
      this.#checkSource(testCase, phase, source, sourceAfter, dryRun);
      const states = { source, sourceAfter, target, after: targetAfter, dryRun };
      this.#judge(testCase, site, phase, states, transferred);
      if (dryRun) {
        throwIfAny("the dry run has changed the target", changesBetween(target, targetAfter));
      }
      const leftovers = this.#unfinished(site, targetAfter).filter((path) =>
        !unfinished.includes(path)
      );
      throwIfAny(`${phase}: left over`, leftovers);
      transfers.push(transferred);
      [source, target] = [sourceAfter, targetAfter];
      if (transferred.result === null) return;
      const earlier = transfers.at(-2);
      if (phase === "second run" && isOnlyObstructed(earlier!) && transferred.result!.failed > 0) {
        throw objection("the second run fails", [Deno.inspect(transferred.events)]);
      }
      if (/second|third/.test(phase) && earlier!.result!.failed === 0) {
        const { files, deleted, failed } = transferred.result!;
        // An unreadable file can't be reported as unchanged.
        const isBlind = [...flatten(targetAfter).values()].some((text) =>
          /^file .* [0-3]?\d?\d$/.test(text)
        );
        if (files + deleted + failed > 0 && !isBlind) {
          throw objection(`the ${phase} did something`, [Deno.inspect(transferred.events)]);
        }
      }
    }
    const [dry, real] = transfers as [Transferred, Transferred];
    if (dry.result!.failed > 0 || real.result!.failed > 0) return;
    const different = differences(outcomeTexts(dry), outcomeTexts(real));
    throwIfAny("the dry run and the run differ", different);
  }

  /** Compares an undisturbed run with the model. */
  #judge(
    testCase: Case,
    { root }: Site,
    phase: string,
    states: Pick<Run, "source" | "sourceAfter" | "target" | "after" | "dryRun">,
    { events, result, error, objections: filterObjections, ...transferred }: Transferred,
    isResumed = false,
    changes: Run["changes"] = [],
  ): void {
    if (result === null) {
      if (!isEnded(testCase, { events, error })) {
        throw objection(`${phase}: rejects`, [Deno.inspect(error)]);
      }
      return;
    }
    const { download, options, reuse, script } = testCase;
    const placeLength = testCase.place === "" ? 0 : testCase.place.length + 1;
    const reuseRequests = transferred.reuseRequests.map(([method, path]) =>
      [method, path.slice(placeLength)] as const
    );
    const run = { ...states, root, events, result, reuseRequests, isResumed, changes };
    const newFileMode = this.#newFileMode;
    const judge = new Judge({ ...run, download, options, reuse, script, newFileMode });
    const problems = [...judge.judge(), ...filterObjections];
    const listedPaths = flatten(states.source);
    for (const path of options.delete ? [] : transferred.filteredPaths) {
      if (!listedPaths.has(path)) problems.push(`the filter is asked about ${path} in vain`);
    }
    if (problems.length === 0) return;
    const failures = events.flatMap((event) => {
      return event.type === "failed" ? [`${event.path.join("/")} failed: ${event.error}`] : [];
    });
    throw objection(phase, [...problems, ...failures, Deno.inspect(result)]);
  }

  /** Returns the unfinished files at the target, and in the server's directory for them. */
  #unfinished({ root }: Site, target: RawDirectory | null): string[] {
    const targetPaths = [...flatten(target, { reserved: true }).keys()].filter((path) => {
      const names = path.split("/");
      const isReserved = names.includes(RESERVED_DIRECTORY_NAME) || isReservedName(names.at(-1)!);
      // A server keeps the directory at the mount point of a disk.
      return isReserved && !this.#mountPaths?.some((mountPath) => {
        return `${mountPath}/${RESERVED_DIRECTORY_NAME}`.endsWith(`/${path}`);
      });
    });
    const atServer = flatten(see(`${root}/${RESERVED_DIRECTORY_NAME}`), { reserved: true });
    // A server keeps that directory.
    return [...targetPaths, ...atServer.keys()].filter((path) =>
      path !== "" && path !== RESERVED_DIRECTORY_NAME
    );
  }

  async #transfer(
    testCase: Case,
    site: Site,
    dryRun: boolean,
    { signal, triggers }: Hooks = { triggers: [] },
  ): Promise<Transferred> {
    const events: TreeEvent[] = [];
    const problems: string[] = [];
    const filteredEntries = new Map<string, TreeEntry>(), filteredPaths = filteredEntries.keys();
    const timers: ReturnType<typeof setTimeout>[] = [];
    let isPlanned = false;
    const trigger = (moment: Change["when"]["on"], count: number) => {
      for (const { when: { on, n }, work } of triggers) {
        if (on !== moment || n !== count) continue;
        const placeLength = testCase.place === "" ? 0 : testCase.place.length + 1;
        work(isPlanned, events, moment === "reuse" ? this.#compared.slice(placeLength) : "");
      }
    };
    const options: UploadTreeOptions = {
      ...plainOptionsOf(testCase),
      dryRun,
      signal,
      filter: {
        file: (entry) =>
          checkFilterCall(testCase.options, entry, "file", filteredEntries, problems),
        directory: (entry) =>
          checkFilterCall(testCase.options, entry, "directory", filteredEntries, problems),
      },
      onEvent: (event) => {
        isPlanned ||= event.type === "plan";
        // The next attempt lists the trees again.
        if (event.type === "retry") filteredEntries.clear();
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
    const reuseRequests: [string, string][] = this.#reuseRequests = [];
    this.#requestedPaths.clear();
    this.#onRequest = (count, reuses) => trigger(reuses ? "reuse" : "request", count);
    const client = new Client(this.#server.address, { timeout: 60 });
    let conn: Connection | null = null;
    try {
      if (testCase.connection) conn = await client.connect();
      const { local, uri } = site;
      const ending = testCase.download
        ? downloadTree(conn ?? client, uri, local, options)
        : uploadTree(conn ?? client, local, uri, options);
      const result = await patiently(ending, () => [
        `fault ${JSON.stringify(testCase.fault)}; ${this.#running} requests at the server`,
        ...events.map((event) => Deno.inspect(event)),
      ]);
      this.reused += events.filter((event) => event.type === "copied" && event.reused > 0).length;
      if (!dryRun && isPartial(result)) problems.push("the call resolves, and is not complete");
      return { events, result, error: null, objections: problems, reuseRequests, filteredPaths };
    } catch (error) {
      if (error instanceof Objection) throw error;
      if (error instanceof TransferError && error.code === "INCOMPLETE") {
        const { result, cause } = error;
        if (dryRun || !isPartial(result!)) problems.push("the call is complete, and rejects");
        const [first] = events.filter((event) => event.type === "failed");
        if (cause !== first?.error) problems.push("the cause is not the first error");
        return { events, result, error: null, objections: problems, reuseRequests, filteredPaths };
      }
      return { events, result: null, error, objections: problems, reuseRequests, filteredPaths };
    } finally {
      this.#onRequest = null;
      for (const timer of timers) clearTimeout(timer);
      conn?.close();
      await this.#settle();
    }
  }

  /** Closes all connections. */
  #closeConnections(): void {
    for (const session of this.#server.sessions) session.close(new Error("cut"));
  }

  /** Waits until the server has no running requests. */
  async #settle(): Promise<void> {
    const deadline = performance.now() + PATIENCE_MILLISECONDS;
    while (this.#running > 0 || this.#server.sessions.size > this.#heldConnectionCount) {
      if (performance.now() > deadline) throw new Objection("the server works on and on");
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /**
   * Transfers a case's trees twice, with a new source in between, and does the same with rsync;
   * returns the names of the intended differences.
   */
  async compareWithRsync(testCase: Case, nextPairs: Case["pairs"]): Promise<string[]> {
    const options: Options = {
      ...testCase.options,
      compare: "time",
      replace: true,
      delete: true,
      hidden: { names: [], kind: null },
    };
    const asRsync: Case = { ...testCase, options, targetMissing: false, fault: { is: "nothing" } };
    const site = this.#prepare(asRsync);
    const meant: string[] = [];
    try {
      const localSource = testCase.download ? site.remote : site.local;
      const theirs = `${site.dir}/rsync`;
      for (const round of ["at first", "with another source"]) {
        const { source, target: targetBefore } = this.#see(testCase, site);
        make(theirs, planOf(targetBefore!), this.#stock);
        const { result, error, events } = await this.#transfer(asRsync, site, false);
        if (result === null && isEnded(testCase, { events, error })) break;
        if (result === null) throw objection(`${round}: rejects`, [Deno.inspect(error)]);
        const code = rsync(localSource, theirs);
        const failedPaths = events.flatMap((event) => {
          return event.type === "failed" ? event.path.join("/") : [];
        });
        const { named, unnamed } = compare({
          download: testCase.download,
          root: site.root,
          source,
          before: targetBefore!,
          ours: this.#see(testCase, site).target!,
          theirs: seeDirectory(theirs)!,
          result,
          failed: new Set(failedPaths),
          code,
        });
        throwIfAny(`${round}: differs from rsync, code ${code}`, unnamed, [result, ...failedPaths]);
        meant.push(...named);
        removeTree(theirs);
        const { source: plan } = plansOf(nextPairs, site, testCase.reuse, 500);
        if (!this.isRestricted) removeUselessModes(plan);
        if (localSource === site.root || plan.kind !== "directory") continue;
        const real = Deno.realPathSync(localSource);
        removeTree(real);
        make(real, plan, this.#stock);
      }
      return meant;
    } finally {
      this.#remove(site);
    }
  }

  /**
   * Moves the source of a case in two calls. In the first call connections are cut, and a second
   * writer replaces files of the target at each request with files; its files must stay.
   * Afterwards, each file is unchanged at the source, or at the target with the same content, and
   * other entries of the target stay. The second call is undisturbed. Returns how many files were
   * moved, and how many the second writer wrote.
   */
  async checkMove(testCase: Case, writes: readonly Write[]): Promise<readonly [number, number]> {
    const moveCase: Case = {
      ...testCase,
      download: false,
      reuse: false,
      connection: false,
      targetMissing: false,
      fault: { is: "nothing" },
      options: { ...testCase.options, delete: false },
      script: MOVE,
    };
    const site = this.#prepare(moveCase);
    const { now } = Date;
    Date.now = () => now() + 10_000;
    using _pauses = skipPauses();
    try {
      const cutAt = 1 + testCase.pairs.length % 4;
      const treesBefore = this.#see(moveCase, site);
      const [ours, theirs] = [filesIn(treesBefore.source), filesIn(treesBefore.target)];
      const writer = new SecondWriter(moveCase, site, treesBefore.source);
      const events: TreeEvent[] = [];
      const removed: string[] = [];
      let fileRequests = 0;
      this.#requests = 0;
      this.#onRequest = (count, reuses) => {
        // Each file has several attempts, and some attempts retry the whole call.
        if (!reuses && count >= cutAt && count < cutAt + 3) this.#closeConnections();
      };
      this.#onFiles = () => {
        const n = fileRequests++;
        for (const write of writes) {
          if (write.when.n === n) writer.write(write, events);
        }
      };
      const moving = uploadTree(new Client(this.#server.address), site.local, site.uri, {
        move: true,
        replace: testCase.options.replace,
        connections: testCase.options.connections,
        retries: 2,
        onEvent: (event) => {
          events.push(event);
          if (event.type === "moved") removed.push(event.path.join("/"));
        },
      });
      await patiently(moving.catch(() => {}), () => ["a move"]);
      this.transfers++;
      await this.#settle();
      this.#onRequest = this.#onFiles = null;
      const treesAfter = this.#see(moveCase, site);
      const [sourceFiles, targetFiles] = [filesIn(treesAfter.source), filesIn(treesAfter.target)];
      const problems = writer.findObjections(events, targetFiles);
      for (const [path, { key }] of ours) {
        const isInSource = sourceFiles.get(path)?.key === key && !removed.includes(path);
        const isInTarget = targetFiles.get(path)?.key === key || writer.hasReplacedCopy(path);
        if (!isInSource && (sourceFiles.has(path) || !isInTarget)) {
          problems.push(`${path} is lost`);
        }
      }
      for (const [path, { key }] of theirs) {
        const now = targetFiles.get(path)?.key;
        const isReplaced = testCase.options.replace && now === ours.get(path)?.key;
        if (now !== key && !isReplaced && !writer.hasTouched(path)) {
          problems.push(`${path} there is lost`);
        }
      }
      throwIfAny(`a move, cut at ${cutAt}`, problems, events);
      this.errors.splice(0);
      await this.#runAgain(moveCase, site, treesAfter);
      const remainingFiles = filesIn(this.#see(moveCase, site).source);
      return [ours.size - remainingFiles.size, writer.count];
    } finally {
      Date.now = now;
      this.#onRequest = this.#onFiles = null;
      this.#remove(site);
    }
  }

  /**
   * Copies a case's tree while a second writer replaces files of the target. The files of the
   * second writer must stay, and each file that is reported as copied must exist. This user can
   * read all entries, because unreadable entries have no size and time in a list. Resolves to the
   * number of written files.
   */
  async checkWriter(testCase: Case, writes: readonly Write[]): Promise<number> {
    const asWritten: Case = { ...testCase, targetMissing: false, fault: { is: "nothing" } };
    const site = this.#prepare(asWritten);
    try {
      const treesBefore = this.#see(asWritten, site);
      const writer = new SecondWriter(asWritten, site, treesBefore.source);
      const triggers = writes.map((write): Hooks["triggers"][number] => ({
        when: write.when,
        work: (isPlanned, toldEvents) => {
          if (isPlanned) writer.write(write, toldEvents);
        },
      }));
      const { result, error, events } = await this.#transfer(asWritten, site, false, { triggers });
      const treesAfter = this.#see(asWritten, site);
      const problems = writer.findObjections(events, filesIn(treesAfter.target));
      problems.push(...changesBetween(treesBefore.source, treesAfter.source));
      // The server closes the connection after a refusal, and a `Connection` can't reconnect.
      if (result === null && !testCase.connection) problems.push(Deno.inspect(error));
      if (result !== null) problems.push(...miscounts(events, result));
      throwIfAny("with a second writer", problems, events);
      const asChanged: Case = { ...asWritten, fault: { is: "changes", changes: [] } };
      await this.#runAgain(asChanged, site, treesAfter);
      return writer.count;
    } finally {
      this.#remove(site);
    }
  }

  /**
   * Uploads a case's tree to an add-only app in two passes, the first of which loses its
   * connections. Existing entries must be unchanged, and each file that is reported as copied must
   * exist. Resolves to the number of added files.
   */
  async checkAdd(testCase: Case): Promise<number> {
    const options = { ...testCase.options, delete: false };
    const addCase: Case = { ...testCase, options, download: false, fault: { is: "nothing" } };
    const site = this.#prepare(addCase, "add");
    let added = 0;
    try {
      for (const cutAt of [1 + testCase.pairs.length % 4, Infinity]) {
        const treesBefore = this.#see(addCase, site);
        const when = { on: "request", n: cutAt } as const;
        const hooks = { triggers: [{ when, work: () => this.#closeConnections() }] };
        const { events, result } = await this.#transfer(addCase, site, false, hooks);
        const treesAfter = this.#see(addCase, site);
        const now = flatten(treesAfter.target);
        const problems = changesBetween(treesBefore.source, treesAfter.source);
        for (const [path, text] of flatten(treesBefore.target)) {
          if (now.get(path) !== text) problems.push(`${path} was ${text}, is ${now.get(path)}`);
        }
        const [ours, theirs] = [filesIn(treesAfter.source), filesIn(treesAfter.target)];
        const outcomes = outcomesOf(events);
        for (const [path, { key }] of ours) {
          const [outcome] = outcomes.get(path) ?? [];
          const isSame = theirs.get(path)?.key === key;
          if (outcome === "copied" && !isSame) {
            problems.push(`${path} was copied, and is not there`);
          }
        }
        const unreported = findUnreported(addCase, ours.keys(), events);
        if (result !== null) problems.push(...miscounts(events, result), ...unreported);
        throwIfAny(`files are added, cut at ${cutAt}`, problems, events);
        added += events.filter(({ type }) => type === "copied").length;
      }
      return added;
    } finally {
      this.#remove(site);
    }
  }

  async #runWithFault(testCase: Case, site: Site): Promise<void> {
    const treesBefore = this.#see(testCase, site);
    const { fault } = testCase;
    const record = new Changes(testCase, site, treesBefore, this.#stock, this.isRestricted);
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
      hooks.triggers.push({ when: fault.when, work: () => this.#closeConnections() });
    }
    let ballast: string | null = null;
    if (fault.is === "full" && this.#small !== null) {
      ballast = `${this.#small}/ballast`;
      fill(ballast, this.#small, fault.kibibytes);
    }
    using _pauses = fault.is === "refusal" ? skipPauses() : null;
    if (fault.is === "refusal") this.#refusal = fault;
    const transferred = await this.#transfer(testCase, site, false, hooks);
    this.#refusal = null;
    if (ballast !== null) Deno.removeSync(ballast);
    const { result, error } = transferred;
    const rejection = result === null ? [Deno.inspect(error)] : [];
    if (fault.is === "abort" && controller.signal.aborted && error !== reason) {
      throwIfAny("rejects with something else than the signal's reason", rejection);
    }
    if (fault.is === "cut" && testCase.options.retries > 0 && !testCase.connection) {
      throwIfAny("a cut made the whole reject", rejection);
    }
    if (fault.is === "changes" && !testCase.connection) {
      throwIfAny("changes made the whole reject", rejection);
    }
    const now = this.#see(testCase, site);
    const problems = record.findObjections(transferred.events, result, now.source, now.target);
    problems.push(...transferred.objections);
    if (fault.is === "refusal" && result !== null) {
      problems.push(...findUnreported(testCase, filesIn(now.source).keys(), transferred.events));
    }
    const phase = `with the fault ${Deno.inspect(fault, { depth: 9 })}`;
    throwIfAny(phase, problems, [result ?? error, ...transferred.events]);
    if (fault.is !== "changes") this.errors.splice(0);
    await this.#runAgain(testCase, site, now);
  }

  /** Runs the same call after a fault; it must have the result of an undisturbed run. */
  async #runAgain(
    testCase: Case,
    site: Site,
    treesBefore: { source: RawDirectory; target: RawDirectory | null },
  ): Promise<void> {
    const transferred = await this.#transfer(testCase, site, false);
    const { source: sourceAfter, target } = this.#see(testCase, site);
    this.#checkSource(testCase, "run again", treesBefore.source, sourceAfter);
    // Bytes that the first run has transferred are not transferred again.
    const isResumed = testCase.fault.is !== "changes";
    const states = { ...treesBefore, sourceAfter, after: target, dryRun: false };
    this.#judge(testCase, site, "run again", states, transferred, isResumed);
  }

  /**
   * Checks the error of a call that rejects: the source is as before, and so is each entry of the
   * target, or it is a copy.
   */
  #checkRejected(
    phase: string,
    testCase: Case,
    site: Site,
    before: { source: RawDirectory; target: RawDirectory | null },
    code: unknown,
    expectedCode: unknown,
  ): void {
    const problems = code === expectedCode ? [] : [`it has the error ${code}, not ${expectedCode}`];
    const { source, target } = this.#see(testCase, site);
    problems.push(...differences(flatten(before.source), flatten(source)));
    const sources = filesIn(source), files = filesIn(target);
    const isCopy = (path: string) => files.get(path)?.key === sources.get(path)?.key;
    const now = flatten(target), earlier = flatten(before.target);
    for (const path of new Set([...now.keys(), ...earlier.keys()])) {
      if (now.get(path) === earlier.get(path) || files.has(path) && isCopy(path)) continue;
      problems.push(`${path}: was ${earlier.get(path)}, is ${now.get(path)}`);
    }
    throwIfAny(phase, problems);
  }

  /** Checks that no entry and no time of a source has changed, unless its files are moved. */
  #checkSource(
    { script }: Case,
    phase: string,
    before: RawDirectory,
    after: RawDirectory,
    dryRun = false,
  ): void {
    if (script?.move && !dryRun) return;
    throwIfAny(`${phase}: the source has changed`, changesBetween(before, after));
  }

  /**
   * Uploads or moves a case's tree by a call whose first request with a file or for a deletion is
   * delayed, and by another call. Resolves to whether there was such a request.
   */
  async checkLate(testCase: Case, move: boolean): Promise<boolean> {
    const delayedRequestCount = this.#delayedRequestCount;
    await this.run({
      ...testCase,
      download: false,
      reuse: false,
      connection: false,
      targetMissing: false,
      options: { ...testCase.options, delete: testCase.options.delete && !move, hidden: NO_FILTER },
      fault: { is: "nothing" },
      script: { ...MOVE, move, isLate: true },
    });
    return this.#delayedRequestCount > delayedRequestCount;
  }

  /**
   * Delays a request of an aborted call until another call has copied newer files. The request must
   * not change the target.
   */
  async #runLate(testCase: Case, site: Site): Promise<void> {
    const { promise: held, resolve } = Promise.withResolvers<null>();
    const isHeld = (text: string) => {
      const isMatch = /^(?:DELETE |(?:PUT \S*[^/]|POST \S*bundle=put) [^]*chunked)/.test(text);
      if (isMatch) resolve(null);
      return isMatch;
    };
    await using relay = new HoldingRelay(this.#server.address, isHeld);
    const controller = new AbortController(), { signal } = controller;
    const options = { ...plainOptionsOf(testCase), signal };
    const client = new Client(relay.address, { timeout: 60 });
    const uploading = uploadTree(client, site.local, site.uri, options).then(
      () => ["it is complete"],
      (error) => error === signal.reason ? [] : [Deno.inspect(error)],
    );
    // Without a request to delay, nothing is left to check.
    if (await Promise.race([held, uploading]) !== null) return;
    await relay.requestReceived;
    controller.abort(new Error("aborted"));
    const problems = await uploading;
    throwIfAny("the aborted call", problems);
    this.#heldConnectionCount = 1;
    this.#delayedRequestCount++;
    try {
      await this.#settle();
      this.#writeNewer(site, this.#see(testCase, site));
      await this.#runAgain(testCase, site, this.#see(testCase, site));
      const newest = this.#see(testCase, site);
      const response = await relay.release();
      if (testCase.trees !== undefined && !response.includes("412")) problems.push(response);
      const now = flatten(this.#see(testCase, site).target);
      for (const [path, text] of flatten(newest.target)) {
        // The deletion of an empty directory has no condition.
        const isFile = text.startsWith("file ");
        if (isFile && now.get(path) !== text) problems.push(`${path}: is ${now.get(path)}`);
      }
      throwIfAny("the delayed request", problems);
    } finally {
      this.#heldConnectionCount = 0;
    }
  }

  /** Writes newer versions of all files to the source, also of those that only the target has. */
  #writeNewer(
    { local }: Site,
    { source, target }: { source: RawDirectory; target: RawDirectory | null },
  ): void {
    const entries = flatten(source), sources = filesIn(source);
    for (const [path, file] of [...filesIn(target), ...sources]) {
      const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
      const isFree = !entries.has(path) && entries.get(parent)?.startsWith("directory");
      if (!sources.has(path) && !isFree) continue;
      const modified = file.modified + 100_000, size = Math.max(file.size, 4);
      const plan = { ...planOf(file), id: 6000, size, modified } as Plan & { kind: "file" };
      make(`${local}/${path}`, plan);
    }
  }

  /** Runs a row with its changes and losses, and then once more without. */
  async #runScript(testCase: Case, site: Site, script: Script): Promise<void> {
    const before = this.#see(testCase, site);
    const { download } = testCase;
    const [source, target] = download ? [site.remote, site.local] : [site.local, site.remote];
    using faultInjector = new FaultInjector(script, { source, target });
    this.#faultInjector = faultInjector;
    // Each lie must reject the whole call.
    if (script.lies !== null) {
      const { code, lies } = LIES[script.lies];
      for (const [name, lie] of Object.entries(lies)) {
        faultInjector.lie = lie;
        const { error } = await this.#transfer(testCase, site, false);
        this.#checkRejected(name, testCase, site, before, (error as TransferError)?.code, code);
        // A file that arrived before the lie would not be requested again.
        if (before.target?.entries.has("a") === false) removeTree(`${target}/a`);
      }
      this.#faultInjector = null;
      return await this.#runAgain(testCase, site, this.#see(testCase, site));
    }
    const transferred = await this.#transfer(testCase, site, false);
    this.#faultInjector = null;
    const now = this.#see(testCase, site);
    const { changes } = faultInjector;
    if (changes.length !== script.changes.length) {
      throw objection("not all changes were made", changes.map((change) => Deno.inspect(change)));
    }
    const { refused } = script;
    if (script.isCutUntilPause && testCase.options.retries === 0) {
      const problems = differences(flatten(before.source), flatten(now.source));
      if (transferred.result?.failed === 0) problems.push("it is complete");
      throwIfAny("without a response", problems);
    } else if (refused && (refused.paths === null || [401, 405].includes(refused.status))) {
      const { status } = transferred.error as StatusError;
      this.#checkRejected("refused", testCase, site, before, status, refused.status);
    } else {
      const states = { ...before, sourceAfter: now.source, after: now.target, dryRun: false };
      this.#judge(testCase, site, "with its script", states, transferred, true, changes);
    }
    if (script.lost !== null) this.errors.splice(0);
    await this.#runAgain({ ...testCase, script: { ...script, refused: null } }, site, now);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await this.#serving;
  }
}

/** Returns objections to files without an outcome. */
function findUnreported(
  { options: { hidden } }: Case,
  paths: Iterable<string>,
  events: readonly TreeEvent[],
): string[] {
  const outcomes = outcomesOf(events);
  if (hidden.kind !== null) return [];
  // Entries below a skipped or failed directory are not reported themselves.
  const isLeftOut = (path: string) =>
    prefixes(path).some((each) => {
      return outcomes.has(each) || hidden.names.includes(each.split("/").at(-1)!);
    });
  return [...paths].filter((path) => !isLeftOut(path)).map((path) => `${path} is not told of`);
}

/** Skips the pauses before retries. */
function skipPauses(): Disposable {
  return patch(globalThis, "setTimeout", (setTimeout) => {
    const fast = (run: () => void, ms = 0) => setTimeout(run, ms === 1000 || ms === 2000 ? 1 : ms);
    return fast as typeof setTimeout;
  });
}

function hasLosses({ lost, refused, lies }: Script): boolean {
  return lost !== null || refused !== null || lies !== null;
}

/** Returns the options that are not functions. */
function plainOptionsOf({ options, script }: Case): UploadTreeOptions {
  const { replace, modes, connections, retries, hidden: _, ...listOptions } = options;
  const deleteAll = listOptions.delete && listOptions.deleteAll;
  return {
    ...{ replace, modes, connections, retries },
    ...script?.move ? { move: true } : { ...listOptions, deleteAll },
  };
}

function isPartial({ failed, deletionsSkipped }: TreeResult): boolean {
  return failed > 0 || deletionsSkipped !== null;
}

/** Returns the permission bits of a new file that is created with all bits. */
function newFileMode(path: string): number {
  Deno.openSync(path, { write: true, createNew: true, mode: 0o777 }).close();
  const mode = modeOf(Deno.statSync(path));
  Deno.removeSync(path);
  return mode;
}

function isRestricted(path: string): boolean {
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
function removeUselessModes(plan: Plan): void {
  if (plan.kind === "file") plan.mode |= 0o400;
  if (plan.kind !== "directory") return;
  plan.mode = 0o755;
  for (const entry of plan.entries.values()) removeUselessModes(entry);
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

function objection(phase: string, problems: readonly string[]): Objection {
  return new Objection(`${phase}:\n  ${problems.slice(0, 12).join("\n  ")}`);
}

/** Throws an objection with a context if there are problems. */
function throwIfAny(
  phase: string,
  problems: readonly string[],
  context: readonly unknown[] = [],
): void {
  if (problems.length === 0) return;
  throw objection(phase, [...problems, ...context.map((it) => Deno.inspect(it))]);
}

/** Returns the changes of a tree, with all entries and times. */
function changesBetween(before: RawDirectory | null, after: RawDirectory | null): string[] {
  return differences(flattenWhole(before), flattenWhole(after));
}

function outcomeTexts({ events }: Transferred): Map<string, string> {
  return new Map([...outcomesOf(events)].map(([path, outcomes]) => [path, outcomes.join()]));
}

async function patiently<T>(promise: Promise<T>, state: () => string[]): Promise<T> {
  const { promise: timeout, reject } = Promise.withResolvers<never>();
  const giveUp = () => reject(objection("it does not end", state()));
  const timer = setTimeout(giveUp, PATIENCE_MILLISECONDS);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Reports whether each failed entry had an entry in the way, which was deleted. */
function isOnlyObstructed({ events }: Transferred): boolean {
  const paths = (wantedType: "deleted" | "failed") =>
    events.flatMap((event) => event.type === wantedType ? [event.path.join("/")] : []);
  const deletedPaths = paths("deleted");
  return paths("failed").every((path) =>
    prefixes(path).some((parent) => deletedPaths.includes(parent))
  );
}

/** Calls a filter, and records entries that must not be passed to it. */
function checkFilterCall(
  options: Options,
  entry: TreeEntry,
  name: "file" | "directory",
  filteredEntries: Map<string, TreeEntry>,
  problems: string[],
): boolean {
  const key = entry.path.join("/");
  const isComplete = entry.name === entry.path.at(-1) && Number.isInteger(entry.size) &&
    entry.modified instanceof Date;
  const hasReason = entry.kind === "other"
    ? !isReservedName(entry.name) || entry.reason === "name"
    : !("reason" in entry);
  const isOtherFunction = entry.kind === (name === "file" ? "directory" : "file") ||
    entry.isDirectory === (name === "file");
  if (!isComplete || !hasReason || isOtherFunction) {
    problems.push(`${name} of the filter gets ${Deno.inspect(entry)}`);
  }
  if (entry.reason !== "name") {
    // An obstacle has the path of the entry, and another kind.
    const earlierEntry = filteredEntries.get(key);
    const isSecondFunction = name === "file" && entry.reason === "unreadable";
    if (earlierEntry?.kind === entry.kind && !isSecondFunction) {
      problems.push(`the filter is asked twice about ${key}`);
    }
    if (earlierEntry === undefined) filteredEntries.set(key, entry);
  }
  for (const path of prefixes(key).slice(0, -1)) {
    const parent = filteredEntries.get(path);
    if (parent === undefined) problems.push(`the filter is asked about ${key} before its parent`);
    else if (!accepts(options, parent)) {
      problems.push(`the filter is asked about ${key}, which lies in what it refused`);
    }
  }
  return accepts(options, entry);
}

/** Limits the space of a disk. */
function fill(path: string, disk: string, kibibytes: number): void {
  const freeKibibytes = Number(run("df", "--output=avail", "-k", disk).split("\n")[1]);
  using file = Deno.createSync(path);
  const piece = new Uint8Array(65536);
  for (let remainingBytes = (freeKibibytes - kibibytes) * 1024; remainingBytes > 0;) {
    remainingBytes -= file.writeSync(
      remainingBytes < piece.length ? piece.subarray(0, remainingBytes) : piece,
    );
  }
}
