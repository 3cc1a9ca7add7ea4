import java.io.File;
import java.net.InetAddress;
import java.security.KeyStore;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/** A server of JSSE that requires certificates: Peer AUTHORITIES VERSION IDENTITY, two PKCS #12. */
public class Peer {
  public static void main(String[] args) throws Exception {
    char[] password = "secret".toCharArray();
    TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
    trust.init(KeyStore.getInstance(new File(args[0]), password));
    KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
    keys.init(KeyStore.getInstance(new File(args[2]), password), password);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
    SSLServerSocket listener = (SSLServerSocket) context.getServerSocketFactory()
        .createServerSocket(0, 5, InetAddress.getByName("127.0.0.1"));
    listener.setNeedClientAuth(true);
    listener.setEnabledProtocols(new String[] {"TLSv" + args[1]});
    System.out.println("PORT " + listener.getLocalPort());
    while (true) {
      try (SSLSocket socket = (SSLSocket) listener.accept()) {
        socket.startHandshake();
        socket.getInputStream().read(new byte[4096]);
        socket.getOutputStream()
            .write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".getBytes());
      } catch (Exception error) {
        System.out.println(error);
      }
    }
  }
}
