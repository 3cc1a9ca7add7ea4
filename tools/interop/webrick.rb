# A server of files, with programs: text, two cookies, a redirect and an echo.
require "webrick"

server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: ARGV[1].to_i)
server.mount("/", WEBrick::HTTPServlet::FileHandler, ARGV[0], FancyIndexing: true)
server.mount_proc("/program") do |_, response|
  response.content_type = "text/plain"
  response.chunked = true
  response.body = proc do |out|
    out.write("hello")
    out.write(" world")
  end
end
server.mount_proc("/cookies") do |_, response|
  response.cookies << WEBrick::Cookie.new("a", "1") << WEBrick::Cookie.new("b", "2")
  response.body = "ok"
end
server.mount_proc("/moved") { |_, response| response.set_redirect(WEBrick::HTTPStatus::Found, "/file.txt") }
server.mount_proc("/echo") { |request, response| response.body = request.body.to_s }
trap("TERM") { server.shutdown }
server.start
