import java.io.FileInputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Uploads 20 MB to each URL: Upload HttpClient|HttpURLConnection AUTHORITY URL… Prints the statuses. */
class Upload {
  public static void main(String[] args) throws Exception {
    SSLContext tls = makeContext(args[1]);
    byte[] body = new byte[20_000_000];
    for (int i = 2; i < args.length; i++) {
      URI uri = URI.create(args[i]);
      int status = args[0].equals("HttpClient") ? useHttpClient(uri, body, tls) : useHttpURLConnection(uri, body, tls);
      System.out.println(status);
    }
    System.exit(0);
  }

  static int useHttpClient(URI uri, byte[] body, SSLContext tls) throws Exception {
    HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).sslContext(tls).build();
    HttpRequest request = HttpRequest.newBuilder(uri).PUT(BodyPublishers.ofByteArray(body)).build();
    return client.send(request, BodyHandlers.discarding()).statusCode();
  }

  static int useHttpURLConnection(URI uri, byte[] body, SSLContext tls) throws Exception {
    var connection = (HttpURLConnection) uri.toURL().openConnection();
    if (connection instanceof HttpsURLConnection https) https.setSSLSocketFactory(tls.getSocketFactory());
    connection.setRequestMethod("PUT");
    connection.setDoOutput(true);
    try (var out = connection.getOutputStream()) {
      out.write(body);
    }
    return connection.getResponseCode();
  }

  static SSLContext makeContext(String authority) throws Exception {
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, null);
    try (var in = new FileInputStream(authority)) {
      store.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(in));
    }
    var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    managers.init(store);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, managers.getTrustManagers(), null);
    return context;
  }
}
