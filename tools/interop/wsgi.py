"""An app for WSGI servers: text, two cookies, a redirect and an echo."""


def app(environ, start_response):
    status, headers, pieces = "200 OK", [("content-type", "text/plain")], [b"hello", b" world"]
    match environ["PATH_INFO"]:
        case "/file":
            headers.append(("content-length", "11"))
        case "/program":
            pass
        case "/cookies":
            headers += [("set-cookie", "a=1"), ("set-cookie", "b=2")]
        case "/moved":
            status, pieces = "302 Found", [b""]
            headers.append(("location", "/file"))
        case "/echo":
            pieces = [environ["wsgi.input"].read()]
        case _:
            status = "404 Not Found"
    start_response(status, headers)
    return pieces
