// A proxy of Debian's package node-http-proxy. The arguments are pairs such as PROXY=8080.

try {
  require.resolve("http-proxy");
} catch {
  // The exit code for a missing program, as in a shell.
  process.exit(127);
}
const httpProxy = require("http-proxy");

const values = Object.fromEntries(process.argv.slice(2).map((argument) => argument.split("=")));
httpProxy.createProxyServer({ target: `http://127.0.0.1:${values.DEGU}` })
  .on("error", (_error, _request, response) => response.destroy())
  .listen(values.PROXY, "127.0.0.1");
