"""An app for ASGI servers: text, two cookies, a redirect and an echo."""


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    status, headers, pieces = 200, [(b"content-type", b"text/plain")], [b"hello", b" world"]
    match scope["path"]:
        case "/file":
            headers.append((b"content-length", b"11"))
        case "/program":
            pass
        case "/cookies":
            headers += [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        case "/moved":
            status, pieces = 302, [b""]
            headers.append((b"location", b"/file"))
        case "/echo":
            pieces = []
            while True:
                message = await receive()
                pieces.append(message.get("body", b""))
                if not message.get("more_body", False):
                    break
        case _:
            status = 404
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
