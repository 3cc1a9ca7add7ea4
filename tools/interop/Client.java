import java.io.ByteArrayInputStream;
import java.io.FileInputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Sends a request with a Java library: Client HttpClient|HttpURLConnection OPERATION URL [CA PKCS12].
 * Prints the status and the body of the response.
 */
class Client {
  static final byte[] HELLO = "hello".getBytes(StandardCharsets.US_ASCII);
  static final char[] PASSWORD = "degu".toCharArray();

  public static void main(String[] args) throws Exception {
    SSLContext tls = args.length > 3 ? makeContext(args[3], args[4]) : null;
    int count = args[1].equals("keep-alive") ? 2 : 1;
    String query = args[1].equals("query") ? "?q=" + URLEncoder.encode("a/b@c,d", StandardCharsets.UTF_8) : "";
    URI uri = URI.create(args[2] + query);
    if (args[0].equals("HttpClient")) useHttpClient(args[1], uri, tls, count);
    else useHttpURLConnection(args[1], uri, tls, count);
  }

  static void useHttpClient(String operation, URI uri, SSLContext tls, int count) throws Exception {
    HttpClient.Builder builder = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1);
    HttpClient client = (tls == null ? builder : builder.sslContext(tls)).build();
    HttpRequest.Builder request = HttpRequest.newBuilder(uri);
    if (operation.equals("put")) request.PUT(BodyPublishers.ofByteArray(HELLO));
    if (operation.equals("chunked")) request.PUT(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(HELLO)));
    if (operation.equals("expect")) request.expectContinue(true).PUT(BodyPublishers.ofByteArray(HELLO));
    if (operation.equals("delete")) request.DELETE();
    if (operation.equals("head")) request.method("HEAD", BodyPublishers.noBody());
    if (operation.equals("range")) request.header("Range", "bytes=2-4");
    for (int i = 0; i < count; i++) {
      var response = client.send(request.build(), BodyHandlers.ofString());
      System.out.println(response.statusCode() + " " + response.body());
    }
  }

  static void useHttpURLConnection(String operation, URI uri, SSLContext tls, int count) throws Exception {
    for (int i = 0; i < count; i++) {
      var connection = (HttpURLConnection) uri.toURL().openConnection();
      if (tls != null) ((HttpsURLConnection) connection).setSSLSocketFactory(tls.getSocketFactory());
      if (operation.equals("delete")) connection.setRequestMethod("DELETE");
      if (operation.equals("head")) connection.setRequestMethod("HEAD");
      if (operation.equals("close")) connection.setRequestProperty("Connection", "close");
      if (operation.equals("range")) connection.setRequestProperty("Range", "bytes=2-4");
      if (operation.equals("put") || operation.equals("chunked")) {
        connection.setRequestMethod("PUT");
        connection.setDoOutput(true);
        if (operation.equals("chunked")) connection.setChunkedStreamingMode(3);
        try (var out = connection.getOutputStream()) {
          out.write(HELLO);
        }
      }
      try (var in = connection.getInputStream()) {
        System.out.println(connection.getResponseCode() + " " + new String(in.readAllBytes(), StandardCharsets.UTF_8));
      }
    }
  }

  static SSLContext makeContext(String authorityPath, String identityPath) throws Exception {
    KeyStore trustStore = KeyStore.getInstance("PKCS12");
    trustStore.load(null, null);
    try (var in = new FileInputStream(authorityPath)) {
      trustStore.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(in));
    }
    KeyStore identityStore = KeyStore.getInstance("PKCS12");
    try (var in = new FileInputStream(identityPath)) {
      identityStore.load(in, PASSWORD);
    }
    var trustManagers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trustManagers.init(trustStore);
    var keyManagers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    keyManagers.init(identityStore, PASSWORD);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(keyManagers.getKeyManagers(), trustManagers.getTrustManagers(), null);
    return context;
  }
}
