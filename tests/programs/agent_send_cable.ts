/**
 * A cable that is pulled while a file is received, until the sender takes its receiver for gone, and
 * plugged in again. Prints how both have ended, and whether the file is the same, as JSON.
 */

import { grows, install, Machine, network, slowDown, until } from "@degu/testing/agent_lab.ts";
import { ip } from "@degu/testing/namespaces.ts";

const [dir = ""] = Deno.args;
const [one, two] = await Promise.all(["one", "two"].map((name) => Machine.make(name, dir))) as [
  Machine,
  Machine,
];
await network([[one, "192.168.1.7/24"], [two, "192.168.1.8/24"]]);
await slowDown(one, "40mbit");
const type = await install(dir);
const bytes = crypto.getRandomValues(new Uint8Array(65536));
const all = new Uint8Array(bytes.length * 300);
for (let at = 0; at < all.length; at += bytes.length) all.set(bytes, at);
await Deno.writeFile(`${one.dir}/file`, all);
await using sender = type(one, "degu send file");
const line = (await sender.line("degu:")).trim();
await Deno.mkdir(`${two.dir}/here`);
await using receiver = type(two, `degu receive ${line} here`);
await until("a part", await grows(`${two.dir}/here`, 4_000_000));
await ip("link", "set", "dev", "port-two", "down");
const left = (await sender.line("has left")).trim();
await ip("link", "set", "dev", "port-two", "up");
const ends = [await receiver.ended(), await sender.ended()];
const arrived = await Deno.readFile(`${two.dir}/here/file`).catch(() => new Uint8Array());
const isSame = arrived.length === all.length && arrived.every((byte, i) => byte === all[i]);
console.log(JSON.stringify({ left, ends, isSame }));
