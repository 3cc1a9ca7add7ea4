import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Puts, gets and lists files with Java's HttpClient: Names URL FILE. The file has a name in each
 * line. Prints the statuses and the text of each file, and then the list of the directory.
 */
class Names {
  public static void main(String[] args) throws Exception {
    HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    URI directory = URI.create(args[0]);
    for (String name : Files.readString(Path.of(args[1])).split("\n")) {
      String path = directory.getPath() + name;
      URI uri = new URI("http", null, directory.getHost(), directory.getPort(), path, null, null);
      HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(uri.toASCIIString()));
      HttpResponse<String> put = client.send(request.PUT(BodyPublishers.ofString("=" + name)).build(), BodyHandlers.ofString());
      HttpResponse<String> get = client.send(request.GET().build(), BodyHandlers.ofString());
      out.println(put.statusCode() + " " + get.statusCode() + " " + get.body());
    }
    out.println(client.send(HttpRequest.newBuilder(directory).build(), BodyHandlers.ofString()).body());
  }
}
