/** A proxy of `Deno.serve` and `fetch`. The arguments are pairs such as PROXY=8080. */

const values = Object.fromEntries(Deno.args.map((argument) => argument.split("=")));
Deno.serve({ hostname: "127.0.0.1", port: Number(values["PROXY"]), onListen() {} }, (request) => {
  const { pathname, search } = new URL(request.url);
  const { method, headers, body } = request;
  const target = `http://127.0.0.1:${values["DEGU"]}${pathname}${search}`;
  return fetch(target, { method, headers, body, redirect: "manual" });
});
