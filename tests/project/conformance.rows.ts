/**
 * Each MUST and MUST NOT of RFC 9112 §2–§9, and of RFC 9110 §5, §6.4, §7.6, §8.6, §9.3 and §15 that
 * applies to a client, a server or a proxy: the section, the roles, the requirement, why Degu
 * conforms, and a test, or a row of a test. Instead of a reason, "differs" means that
 * docs/conformance.md describes a difference, after a colon under another text.
 */
export const REQUIREMENTS = `
RFC 9112
§2.2 | client, server | Read a message as bytes, in an encoding that contains ASCII | differs | tests/base/wire/headers.rows.ts: a byte above 127 in a value
§2.2 | client, server | Don't send a bare CR outside of a body | Degu refuses to send a bare CR | tests/net/sent_messages_test.ts: neither a client nor a server sends a bare CR, a line end, NUL or a byte above 127 in a header
§2.2 | server | Treat a bare CR as an error, or as a space | Degu refuses a bare CR and a bare LF as soon as it reads them | tests/base/wire/requests.rows.ts: lines that end with CR alone
§2.2 | client | Treat a bare CR as an error, or as a space | Degu refuses a bare CR and a bare LF as soon as it reads them | tests/base/wire/responses.rows.ts: a bare line end
§2.2 | proxy | Treat a bare CR as an error, or as a space | The proxy replaces a response with a bare CR by 502 | tests/integration/proxy_messages_test.ts: a proxy passes on each valid response, and replaces a response that breaks a rule by 502
§2.2 | client | Don't send CR LF before or after a request | The client doesn't add bytes | tests/net/sent_messages_test.ts: a client sends no byte before, between or after its requests, and adds no header but the framing
§2.2 | client | Count a line end at the end of a body as part of the body | A body is sent unchanged | tests/net/sent_messages_test.ts: a client sends no byte before, between or after its requests, and adds no header but the framing
§2.2 | client | Don't send white space before the first header | The first header follows the CR LF of the first line | tests/net/sent_messages_test.ts: a client sends no byte before, between or after its requests, and adds no header but the framing
§2.2 | server | Don't send white space before the first header | The first header follows the CR LF of the first line | tests/net/sent_messages_test.ts: a server sends no byte between its responses, and adds no header but the framing
§2.2 | client, server | Refuse, or ignore, a line before the first header that begins with white space | Degu refuses the line | tests/base/wire/headers.rows.ts: a space before the name
§2.3 | proxy | Send its own version in a forwarded message | The proxy uses HTTP/1.1 on both sides | tests/integration/smuggling_test.ts: a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server
§3 | server | Answer a request target that is too long with 414 | differs | tests/base/wire/requests.rows.ts: a request target that is too long
§3.2 | client | Send host in each request | differs: Send host in each request, empty if the target has no authority | tests/net/host_test.ts: a client sends the host and port of its address, and no host over a Unix socket
§3.2 | client | Send the authority of the target as host, without user information | host is the address, which has no user information | tests/net/host_test.ts: a client sends the host and port of its address, and no host over a Unix socket
§3.2 | client | Send an empty host if the target has no authority | differs: Send host in each request, empty if the target has no authority | tests/net/host_test.ts: a client sends the host and port of its address, and no host over a Unix socket
§3.2 | server | Answer a request without host with 400 | differs: Answer a request without host, or with an invalid host, with 400 | tests/base/wire/requests.rows.ts: a request without host
§3.2 | server | Answer a request with two host lines with 400 | Each header may occur only once | tests/base/wire/headers.rows.ts: duplicate header: host
§3.2 | server | Answer a request whose host is invalid with 400 | differs: Answer a request without host, or with an invalid host, with 400 | tests/base/wire/headers.rows.ts: any host, also an invalid one
§3.2.1 | client | Send only the path and the query to an origin server | A URI begins with /; any other URI is a RangeError | tests/net/sent_messages_test.ts: a client sends a path and a query as the target, and no other form
§3.2.1 | client | Send / for an empty path | createFetch sends /; an empty URI is a RangeError | tests/net/sent_messages_test.ts: a client sends a path and a query as the target, and no other form
§3.2.2 | client | Send the absolute form to a proxy | differs | tests/net/sent_messages_test.ts: a client sends a path and a query as the target, and no other form
§3.2.2 | server | Accept the absolute form | differs: Accept the absolute form, and use its host instead of host | tests/base/wire/uri.rows.ts: the absolute form
§3.2.2 | server | With the absolute form, use the host of the target and ignore host | differs: Accept the absolute form, and use its host instead of host | tests/base/wire/uri.rows.ts: the absolute form
§3.2.2 | proxy | With the absolute form, replace host by the host of the target | differs: Accept the absolute form, and use its host instead of host | tests/integration/smuggling_test.ts: a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server
§3.2.3 | client | Send only host and port with CONNECT | The client doesn't send CONNECT | tests/net/sent_messages_test.ts: a client doesn't send CONNECT, OPTIONS or TRACE
§3.2.4 | client | Send * with OPTIONS for a whole server | The client doesn't send OPTIONS | tests/net/sent_messages_test.ts: a client doesn't send CONNECT, OPTIONS or TRACE
§3.2.4 | proxy | Forward OPTIONS with an absolute form without a path as * | differs | tests/integration/smuggling_test.ts: a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server
§4 | server | Send the space after the status, even without a reason | differs | tests/net/server_connection_answer_test.ts: an invalid response of an app is logged as an error, and replaced by 500
§5.1 | server | Answer white space between a name and its colon with 400 | Degu refuses a space before the colon | tests/base/wire/headers.rows.ts: a space before the colon
§5.1 | proxy | Remove white space between a name and its colon from a forwarded response | differs | tests/integration/proxy_messages_test.ts: a proxy passes on each valid response, and replaces a response that breaks a rule by 502
§5.2 | client, server | Don't send a folded line | Degu refuses to send a value with a line end | tests/net/sent_messages_test.ts: neither a client nor a server sends a bare CR, a line end, NUL or a byte above 127 in a header
§5.2 | server | Answer a folded line with 400, or replace its fold by spaces | Degu refuses a folded line | tests/base/wire/headers.rows.ts: a folded line (obs-fold)
§5.2 | proxy | Replace a response with a folded line by 502, or replace its fold by spaces | The proxy replaces the response by 502 | tests/integration/proxy_messages_test.ts: a proxy passes on each valid response, and replaces a response that breaks a rule by 502
§5.2 | client | Replace the fold of a line in a response by spaces | differs | tests/base/wire/headers.rows.ts: a folded line (obs-fold) with a colon
§6.1 | client | Be able to read the chunked coding | differs | tests/base/wire/framing.rows.ts: a response: framing by header, also of an error status
§6.1 | server | Be able to read the chunked coding | differs | tests/base/wire/framing.rows.ts: PUT and POST: framing by header, and 0 bytes are a null body
§6.1 | client, server | Apply the chunked coding once | transfer-encoding is chunked or omitted | tests/net/sent_messages_test.ts: neither a client nor a server sends headers that don't frame the body that it sends
§6.1 | client | Apply chunked last if the body of a request has another coding | Degu doesn't apply other codings | tests/net/sent_messages_test.ts: neither a client nor a server sends headers that don't frame the body that it sends
§6.1 | server | Apply chunked last if the body of a response has another coding, or close | Degu doesn't apply other codings | tests/net/sent_messages_test.ts: neither a client nor a server sends headers that don't frame the body that it sends
§6.1 | server | Don't send transfer-encoding with 1xx or 204 | If an app returns this header, the server sends 500 | tests/net/server_connection_answer_test.ts: an invalid response of an app is logged as an error, and replaced by 500
§6.1 | server | Don't send transfer-encoding in a successful response to CONNECT | CONNECT gets 501 | tests/base/wire/preamble.rows.ts: an unsupported method with its URI
§6.1 | client | Send chunks only to a server that is known to use HTTP/1.1 | differs | tests/net/sent_messages_test.ts: a client sends chunks in its first request, and rejects a response of another version
§6.1 | server | Send chunks only in response to HTTP/1.1 or later | A request of another version gets 505 | tests/base/wire/sockets_test.ts: a server answers the requests of each row, and sends at most one response to other bytes
§6.1 | server | Close after a request that has both content-length and transfer-encoding | differs | tests/base/wire/headers.rows.ts: content-length together with transfer-encoding
§6.1 | server | Treat a message of HTTP/1.0 with chunks as faulty, and close | The request gets 505 | tests/base/wire/requests.rows.ts: HTTP/1.0 with chunks
§6.1 | client | Treat a message of HTTP/1.0 with chunks as faulty, and close | The response is refused | tests/net/sent_messages_test.ts: a client sends chunks in its first request, and rejects a response of another version
§6.2 | client, server | Don't send content-length with transfer-encoding | Degu refuses to send a message with both headers | tests/net/sent_messages_test.ts: neither a client nor a server sends headers that don't frame the body that it sends
§6.3 | client | End a response to HEAD, and with 204 and 304, after its headers | differs | tests/base/wire/framing.rows.ts: a response to HEAD: no body, but framing headers
§6.3 | client | Ignore the headers that frame a successful response to CONNECT | The client doesn't send CONNECT | tests/net/sent_messages_test.ts: a client doesn't send CONNECT, OPTIONS or TRACE
§6.3 | proxy | Remove content-length from a forwarded message that also has transfer-encoding | differs | tests/integration/proxy_messages_test.ts: a proxy passes on each valid response, and replaces a response that breaks a rule by 502
§6.3 | server | Answer a request whose last coding is not chunked with 400, and close | Each other coding, and a list of codings, is refused | tests/base/wire/headers.rows.ts: transfer-encoding: another coding than chunked
§6.3 | server | Answer an invalid content-length with 400, and close | differs: Refuse an invalid content-length | tests/base/wire/range.rows.ts: a list, quotes or letters
§6.3 | proxy | Replace a response with an invalid content-length by 502, and close its connection | differs: Refuse an invalid content-length | tests/integration/proxy_messages_test.ts: a proxy passes on each valid response, and replaces a response that breaks a rule by 502
§6.3 | client | Close the connection of a response with an invalid content-length | differs: Refuse an invalid content-length | tests/base/wire/range.rows.ts: a list, quotes or letters
§6.3 | client | Treat a message that ends too early as incomplete, and close | Reading the response fails | tests/net/client_connection_response_test.ts: a response is parsed the same byte by byte; a response that is cut after any byte is an error, and closes the connection
§6.3 | server | Treat a message that ends too early as incomplete, and close | Reading the request fails, and the server doesn't answer | tests/net/server_connection_end_test.ts: if a peer closes or stalls inside a request, the server closes without a response
§6.3 | client | Read a response without a length up to the end of the connection | differs: Read a response without a length, or whose last coding is not chunked, up to the end of the connection | tests/net/late_body_test.ts: a response without framing is an UNFRAMED_BODY error with its status, and ends the connection
§6.3 | client | Read a response whose last coding is not chunked up to the end of the connection | differs: Read a response without a length, or whose last coding is not chunked, up to the end of the connection | tests/base/wire/headers.rows.ts: transfer-encoding: another coding than chunked
§6.3 | client | Frame the body of a request by a length or chunks | The class of the body determines the framing | tests/net/client_connection_request_test.ts: a request with any kind of body has one header that frames it, and is written whole, however few bytes the socket accepts at a time
§6.3 | client | Use chunks only if the server is known to use HTTP/1.1 | differs: Send chunks only to a server that is known to use HTTP/1.1 | tests/net/sent_messages_test.ts: a client sends chunks in its first request, and rejects a response of another version
§6.3 | client | Don't treat bytes after a response as another response | These bytes close the connection, unless Deno reports them too late | tests/base/wire/responses.rows.ts: bytes after the response
§7.1 | client, server | Be able to read the chunked coding, with its trailers | differs | tests/base/wire/chunk.rows.ts: a trailer
§7.1 | client, server | Prevent errors by large sizes of chunks | differs | tests/base/wire/chunk.rows.ts: more than 7 digits
§7.1.1 | client, server | Ignore unknown extensions | differs | tests/base/wire/chunk.rows.ts: a second extension
§7.1.2 | client, server | Don't merge trailers into headers, unless their definition allows it | differs | tests/base/wire/chunk.rows.ts: a trailer
§7.4 | client | Don't send chunked in te | Degu doesn't send te | tests/net/sent_messages_test.ts: a client sends no byte before, between or after its requests, and adds no header but the framing
§7.4 | client | Name te in connection if it is sent | Degu doesn't send te | tests/net/sent_messages_test.ts: a client sends no byte before, between or after its requests, and adds no header but the framing
§7.4 | proxy | Name te in connection if it is sent | te isn't forwarded | tests/apps/proxy_test.ts: ProxyApp does not forward connection-specific headers, in either direction
§8 | client | Treat a response as incomplete if its connection ends early | Reading the response fails | tests/net/client_connection_response_test.ts: a response is parsed the same byte by byte; a response that is cut after any byte is an error, and closes the connection
§8 | client | Treat a response as incomplete if its chunks can't be read | Reading the response fails | tests/base/wire/chunk.rows.ts: a second extension
§9.2 | client | Match responses with requests in their order | A connection has one request at a time | tests/net/client_connection_test.ts: a request while another is pending rejects, and the other continues
§9.2 | client | Don't treat bytes without a request as a response | These bytes close the connection, unless Deno reports them too late | tests/net/framing_test.ts: client connection: bytes that arrive before a request is sent are never its response
§9.3 | client | Send close in each request if connections don't persist | Connections persist | tests/net/sent_messages_test.ts: a client sends no byte before, between or after its requests, and adds no header but the framing
§9.3 | server | Send close in each response if connections don't persist | A last response has connection: close | tests/net/last_response_test.ts: the last response has connection: close with any header of the app, and the log names the reason
§9.3 | server | Read the whole body of a request, or close | An unread body ends the session | tests/net/server_connection_end_test.ts: an unread body ends the session after the response, and is logged once at level info
§9.3 | client | Read the whole body of a response before the next request | The client refuses an earlier request | tests/net/client_connection_test.ts: a request before the previous body is consumed rejects, and after that succeeds
§9.3 | proxy | Don't keep a connection with a client of HTTP/1.0 | differs | tests/integration/smuggling_test.ts: a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server
§9.3.2 | server | Answer pipelined requests in their order | The server sends each response before it reads the next request | tests/net/server_connection_preamble_test.ts: requests are parsed the same however their bytes are split, and complete requests get responses in order
§9.3.2 | client | Don't pipeline at once after a connection was lost | The client never pipelines | tests/net/client_connection_test.ts: a request while another is pending rejects, and the other continues
§9.6 | client | After sending close, don't send further requests, and close after the response | The connection closes once the response is read | tests/net/client_connection_test.ts: a caller's connection: close closes the connection after the response
§9.6 | server | After receiving close, close after the response, and don't process further requests | Further requests are dropped | tests/net/server_connection_end_test.ts: connection: close in a request ends the session after its response, and later bytes are discarded
§9.6 | server | After sending close, close after the response, and don't process further requests | Further requests are dropped | tests/net/server_connection_end_test.ts: connection: close from an app ends the session after that response
§9.6 | client | After receiving close, don't send further requests, and close after the response | The connection closes once the response is read | tests/base/wire/responses.rows.ts: connection: close
§9.6 | proxy | After receiving close, don't send further requests, and close after the response | The next request uses another connection | tests/apps/proxy_test.ts: an upstream that sends connection: close gets no other request, and the session continues
§9.7 | client | Send all of HTTP as application data of TLS | Degu doesn't send HTTP before the handshake ends | tests/net/tls/closure_alert_test.ts: a client sends HTTP as application data, and an alert before it closes a connection
§9.7 | server | Send all of HTTP as application data of TLS | Degu doesn't send HTTP before the handshake ends | tests/net/tls/closure_alert_test.ts: a server sends HTTP as application data, and an alert before it closes a session
§9.8 | client | Send a closure alert before closing | differs | tests/net/tls/closure_alert_test.ts: a client that abandons a request sends no alert, and resets its connection
§9.8 | server | Try to exchange closure alerts before closing | differs | tests/net/tls/closure_alert_test.ts: a server sends no alert if a session is closed in the middle of a response

RFC 9110
§5.1 | proxy | Forward unknown headers | differs | tests/apps/proxy_test.ts: ProxyApp does not forward connection-specific headers, in either direction
§5.3 | proxy | Keep the order of lines of one name | differs: Send a header twice only if it is a list, and forward its lines in order | tests/integration/smuggling_test.ts: a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server
§5.3 | client, server | Send a header twice only if it is a list | differs: Send a header twice only if it is a list, and forward its lines in order | tests/net/sent_messages_test.ts: neither a client nor a server sends a header twice
§5.3 | server | Process a request only after all of its headers have arrived | The app is called after the empty line | tests/net/server_connection_preamble_test.ts: requests are parsed the same however their bytes are split, and complete requests get responses in order
§5.4 | server | Answer headers that are too large with 4xx | The status is 431 | tests/base/wire/requests.rows.ts: a preamble of 32768 bytes
§5.5 | client, server | Remove white space around a value | differs | tests/base/wire/headers.rows.ts: a space before a value
§5.5 | client, server | Refuse CR, LF and NUL in a value, or replace them by spaces | Degu refuses CR, LF and NUL | tests/base/wire/headers.rows.ts: NUL, or another byte that no value has
§5.6.1.1 | server | Don't send an empty element of a list | Degu adds an element after a comma and a space | tests/net/last_response_test.ts: the last response has connection: close with any header of the app, and the log names the reason
§5.6.1.2 | server | Accept empty elements of a list | The server ignores empty elements in connection, the only list that it reads | tests/base/wire/requests.rows.ts: close in a list, chunks, and another request
§5.6.1.2 | client | Accept empty elements of a list | The client ignores empty elements in connection, the only list that it reads | tests/base/wire/responses.rows.ts: connection: close
§5.6.3 | client | Don't send bad white space | A chunk's extension is sent without spaces | tests/net/client_connection_request_test.ts: a request with any kind of body has one header that frames it, and is written whole, however few bytes the socket accepts at a time
§5.6.3 | client, server | Read and remove bad white space | differs | tests/base/wire/chunk.rows.ts: a second extension
§5.6.4 | client, server | Read a quoted pair as the character after its backslash | The app gets the value unchanged | tests/integration/header_values_test.ts: every byte from 0x20 to 0x7E in a value reaches the other end unchanged, in both directions
§5.6.7 | server | Accept all three forms of a date, and years of two digits | FilesApp reads all these forms in conditions | files/tests/files_app_test.ts: a file that has not changed for two seconds has a tag, and is answered as RFC 9110 §13 requires
§5.6.7 | server | Write dates in the fixed form, without additional white space | FilesApp writes last-modified in this form | files/tests/files_app_test.ts: a file that has not changed for two seconds has a tag, and is answered as RFC 9110 §13 requires
§6.4.1 | server | Don't send content in response to HEAD | An app may answer HEAD as GET: the body is canceled | tests/integration/head_test.ts: a server answers HEAD as GET, without the body
§6.4.1 | server | Don't send content with 1xx, 204 and 304 | If an app returns a body with 204 or 304, the server sends 500 | tests/net/server_connection_answer_test.ts: an invalid response of an app is logged as an error, and replaced by 500
§7.6 | proxy | Obey connection, and don't forward hop-by-hop headers | connection, keep-alive, te, upgrade and proxy-… aren't forwarded | tests/apps/proxy_test.ts: ProxyApp does not forward connection-specific headers, in either direction
§7.6 | proxy | Don't forward a message to itself without protection from loops | differs | tests/integration/proxy_messages_test.ts: a proxy that forwards to itself responds with 502 once its slots are in use
§7.6.1 | client | Name in connection each hop-by-hop header | Degu itself doesn't send such headers | tests/net/sent_messages_test.ts: a client sends no byte before, between or after its requests, and adds no header but the framing
§7.6.1 | server | Name in connection each hop-by-hop header | Degu itself doesn't send such headers | tests/net/sent_messages_test.ts: a server sends no byte between its responses, and adds no header but the framing
§7.6.1 | proxy | Remove connection, and the headers that it names | differs | tests/apps/proxy_test.ts: ProxyApp relays each message byte by byte, even if connection names its host or framing
§7.6.1 | proxy | Remove the headers that connection names, if a program has replaced the headers | differs: Remove connection, and the headers that it names | tests/apps/proxy_test.ts: the connection of a client can't remove headers that with() has set, in front of a proxy
§7.6.1 | server | Don't send an option that names a header for all recipients | Degu adds only the option close | tests/net/last_response_test.ts: the last response has connection: close with any header of the app, and the log names the reason
§7.6.2 | proxy | Check and decrement max-forwards of TRACE and OPTIONS, and answer 0 | differs | tests/integration/smuggling_test.ts: a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server
§7.6.3 | proxy | Add via to each forwarded message | differs | tests/integration/proxy_messages_test.ts: a proxy adds no via, and passes a received via on unchanged, unless options.headers replaces it
§7.6.3 | proxy | Don't combine members of via that name different protocols | via is forwarded unchanged | tests/integration/proxy_messages_test.ts: a proxy adds no via, and passes a received via on unchanged, unless options.headers replaces it
§8.6 | server | Send content-length in response to HEAD only if GET would have that length | The length is the length of the app's body. With null, the app's number is sent | tests/integration/head_test.ts: a framing header that an app returns to HEAD must match its body
§8.6 | server | Send content-length with 304 only if 200 would have that length | Degu doesn't add the header; an app's number is sent | tests/net/server_connection_answer_test.ts: valid responses at the limits are sent
§8.6 | server | Don't send content-length with 1xx or 204 | If an app returns this header, the server sends 500 | tests/net/server_connection_answer_test.ts: an invalid response of an app is logged as an error, and replaced by 500
§8.6 | server | Don't send content-length in a successful response to CONNECT | CONNECT gets 501 | tests/base/wire/preamble.rows.ts: an unsupported method with its URI
§8.6 | client, server | Prevent errors by large lengths | differs | tests/base/wire/range.rows.ts: a list, quotes or letters
§8.6 | proxy | Don't forward a length that is known to be wrong | An incomplete body ends its connection | tests/apps/proxy_failure_test.ts: a response that the upstream breaks off is never completed, and isn't logged as an error of the app
§8.6 | proxy | Don't forward a length that isn't a number | differs | tests/integration/proxy_messages_test.ts: a proxy passes on each valid response, and replaces a response that breaks a rule by 502
§9.3.2 | server | Don't send content in response to HEAD | An app may answer HEAD as GET: the body is canceled | tests/integration/head_test.ts: a server answers HEAD as GET, without the body
§9.3.4 | server | Answer a PUT with 201 if it creates, and with 200 or 204 if it replaces | FilesApp sends 201 and 204 | files/tests/put_test.ts: PUT responds with 201 to a new file, with 204 to a replaced one, and repeats the digest
§9.3.4 | server | Answer a PUT with a validator only if the content was saved unchanged | FilesApp doesn't send a validator | files/tests/put_test.ts: the response to a PUT of content has no validator
§9.3.4 | server | Redirect a PUT that is to change another resource | FilesApp changes the file of the URI, and doesn't follow links | files/tests/put_test.ts: PUT doesn't replace a directory, a link, or a file that is a parent of its path
§9.3.6 | client | Send the port with CONNECT | The client doesn't send CONNECT | tests/net/sent_messages_test.ts: a client doesn't send CONNECT, OPTIONS or TRACE
§9.3.6 | server | Refuse CONNECT with an invalid port | differs | tests/integration/smuggling_test.ts: a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server
§9.3.6 | proxy | Forward the remaining bytes when one side of a tunnel closes | A proxy doesn't open tunnels | tests/integration/smuggling_test.ts: a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server
§9.3.6 | client | Ignore the headers that frame a successful response to CONNECT | The client doesn't send CONNECT | tests/net/sent_messages_test.ts: a client doesn't send CONNECT, OPTIONS or TRACE
§9.3.6 | server | Don't frame a successful response to CONNECT | CONNECT gets 501 | tests/base/wire/preamble.rows.ts: an unsupported method with its URI
§9.3.7 | proxy | Don't add max-forwards | Degu doesn't add max-forwards | tests/integration/smuggling_test.ts: a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server
§9.3.7 | client | Send content-type with the content of OPTIONS | The client doesn't send OPTIONS | tests/net/sent_messages_test.ts: a client doesn't send CONNECT, OPTIONS or TRACE
§9.3.8 | client | Don't send secrets or content with TRACE | The client doesn't send TRACE | tests/net/sent_messages_test.ts: a client doesn't send CONNECT, OPTIONS or TRACE
§15 | client | Treat an unknown status as the first status of its class | response.ok and expectOk check the class | tests/net/statuses_test.ts: a client handles an unknown status by its class
§15.2 | server | Don't send 1xx to a client of HTTP/1.0 | A server answers HTTP/1.0 with 505 | tests/base/wire/preamble.rows.ts: another version
§15.2 | client | Be able to read 1xx before a response | differs | tests/base/wire/responses.rows.ts: interim
§15.2 | proxy | Forward 1xx | differs | tests/integration/proxy_messages_test.ts: a proxy passes on each valid response, and replaces a response that breaks a rule by 502
§15.2.2 | server | Send upgrade with 101 | A server never sends 101 | tests/net/server_connection_answer_test.ts: an invalid response of an app is logged as an error, and replaced by 500
§15.3.6 | server | Don't send content with 205 | differs | tests/net/server_connection_answer_test.ts: valid responses at the limits are sent
§15.3.7 | client | Inspect content-range of a 206 | download compares the header | files/tests/download_resume_test.ts: a response with another range, version or length is refused, and a 412 or 416 starts over
§15.3.7 | server | Send with 206 the headers that 200 would have | FilesApp sends 206 with the headers of the whole file | files/tests/file_body_test.ts: a partial response has every header of the whole file, and content-range
§15.3.7.1 | server | Send content-range with a single part | FilesApp sends content-range with each 206 | files/tests/file_body_test.ts: FilesApp serves every form of a single range
§15.3.7.2 | server | Send several parts as multipart/byteranges, each with content-range | differs | tests/base/wire/range.rows.ts: several ranges
§15.3.7.2 | server | Answer a request for one range with one part | FilesApp answers with one part | files/tests/file_body_test.ts: FilesApp serves every form of a single range
§15.3.7.2 | client | Request several ranges only if several parts can be read | A Range is one range | tests/net/ranges_test.ts: a client requests one range, and can't request several
§15.3.7.2 | client | Inspect content-range of each of several parts | The client never requests several parts | tests/net/ranges_test.ts: a client requests one range, and can't request several
§15.3.7.3 | client | Combine parts by the headers of the newest, as one response | differs | files/tests/download_resume_test.ts: resumes only a part that certainly belongs to the file, and otherwise starts over
§15.4.5 | server | Send with 304 cache-control, content-location, date, etag, expires and vary if 200 would have them | FilesApp sends etag and last-modified, as with 200 | files/tests/files_app_test.ts: a file that has not changed for two seconds has a tag, and is answered as RFC 9110 §13 requires
§15.4.8 | client | Keep the method when following a 307 | createFetch keeps the method; other functions don't follow redirects | tests/web/create_fetch_test.ts: a redirect is followed with the method that the standard requires
§15.5.2 | server | Send www-authenticate with 401 | Degu itself doesn't send 401 | tests/base/wire/sockets_test.ts: a server answers the requests of each row, and sends at most one response to other bytes
§15.5.6 | server | Send allow with 405 | routes and FilesApp send allow | tests/apps/routes_test.ts: a path without a route is 404, a method without an app 405 with the allowed methods
§15.5.8 | proxy | Send proxy-authenticate with 407 | A proxy never sends 407 | tests/base/wire/sockets_test.ts: a server answers the requests of each row, and sends at most one response to other bytes
§15.5.20 | proxy | Don't send 421 | A failure gets 502, 503 or 504 | tests/apps/proxy_failure_test.ts: an upstream that doesn't respond with HTTP causes 502
§15.5.22 | server | Send upgrade with 426 | Degu itself doesn't send 426 | tests/base/wire/sockets_test.ts: a server answers the requests of each row, and sends at most one response to other bytes
`;
