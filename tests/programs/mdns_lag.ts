/**
 * Announces a device and searches for devices at a port of the loopback interface, prints a line,
 * and four seconds later the most milliseconds for which the event loop was late.
 */

import {
  Announcement,
  discoverServices,
  findAddresses,
} from "@degu/internal/device/discovery/mdns.ts";
import type { Network } from "@degu/internal/device/discovery/mdns_links.ts";
import { ADDRESS, makeInterfaces, SILENT } from "../../device/tests/mdns.ts";
import process from "node:process";

const SECONDS = 4;
const INTERVAL_MILLISECONDS = 10;
const [port, type = "", id = ""] = Deno.args;
const hosts = Array.from({ length: 8 }, (_, i) => `fd00::${i + 8}`);
const network: Network = {
  port: Number(port),
  findInterfaces: () => makeInterfaces("127.0.0.1", ADDRESS, ...hosts),
};
const options = { seconds: 600, logger: SILENT };
const announcement = new Announcement(
  { name: "lamp", id: "l".repeat(52), port: 7443, type, logger: SILENT },
  network,
);
findAddresses(type, id, options, network);
discoverServices(type, options, network);
await announcement.announced;
console.log("announced");

// On a busy machine, the loop is late without work. So count only the time of the processor.
const readCpuMilliseconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
let maxLateMilliseconds = 0;
let lastTick = [performance.now(), readCpuMilliseconds()] as const;
setInterval(() => {
  const tick = [performance.now(), readCpuMilliseconds()] as const;
  const late = Math.min(tick[0] - lastTick[0] - INTERVAL_MILLISECONDS, tick[1] - lastTick[1]);
  maxLateMilliseconds = Math.max(maxLateMilliseconds, late);
  lastTick = tick;
}, INTERVAL_MILLISECONDS);
setTimeout(() => {
  console.log(Math.round(maxLateMilliseconds));
  Deno.exit();
}, SECONDS * 1000);
