/**
 * A service that dies in the middle of a transfer and is started again, and a peer that is forgotten in the middle of one. Prints how
 * the transfers have ended as JSON.
 *
 * @module
 */

import { partArrives, SlowCable } from "@degu/testing/agent_lab.ts";

const [dir = ""] = Deno.args;
const slow = await SlowCable.make(dir);
const { camera, viewer } = slow;
const first = await slow.serve();
await slow.pair("12mbit"); // seconds, in which another command starts

const files = `${viewer.dir}/files`;
await using getting = viewer.start(["--json", "get", "camera:film", files]);
await partArrives(files);
first.kill("SIGKILL");
await first[Symbol.asyncDispose]();
await using _second = await slow.serve();
const got = await getting.ended();

await using putting = viewer.start(["put", `${viewer.dir}/clip`, "camera:"]);
await partArrives(`${camera.dir}/inbox`);
await camera.succeed(["forget", "viewer"]);
const put = await putting.ended();
const inbox = [...Deno.readDirSync(`${camera.dir}/inbox`)].map(({ name }) => name);
const whole = await slow.isWhole(`${files}/film`);
console.log(JSON.stringify({ got, put, inbox, whole }));
