/**
 * Announces a device until it is killed, or searches for a device or for offers, and prints the
 * results as JSON. It has only the permissions for mDNS.
 */

import {
  Announcement,
  discoverServices,
  findAddresses,
} from "@degu/internal/device/discovery/mdns.ts";

const SERVICE = "_degu._tcp.local";
const PAIR_SERVICE = "_degu-pair._tcp.local";
const [task = "", id = ""] = Deno.args;
if (task === "find") {
  console.log(JSON.stringify(await findAddresses(SERVICE, id, {})));
} else if (task === "offers") {
  console.log(JSON.stringify(await discoverServices(PAIR_SERVICE, {})));
} else {
  await using announced = new Announcement({
    name: "camera",
    id,
    port: 7443,
    logger: console,
    type: task === "offer" ? PAIR_SERVICE : SERVICE,
  });
  console.log(await announced.announced);
  await new Promise(() => {});
}
