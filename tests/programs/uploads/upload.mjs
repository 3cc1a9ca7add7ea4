/** Uploads 20 MB with Node to each URL: upload.mjs fetch|http AUTHORITY URL… Prints the statuses. */
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { argv } from "node:process";

const [library, authority, ...urls] = argv.slice(2);
const body = Buffer.alloc(20_000_000);
const ca = readFileSync(authority);

function upload(url) {
  const request = url.startsWith("https:") ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    request(url, { method: "PUT", ca }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).on("error", reject).end(body);
  });
}

for (const url of urls) {
  const status = library === "fetch"
    ? (await fetch(url, { method: "PUT", body })).status
    : await upload(url);
  console.log(status);
}
process.exit();
