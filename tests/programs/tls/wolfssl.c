/* A server or a client of wolfSSL: wolfssl server|client PORT AUTHORITY VERSION [CERTIFICATE KEY] */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *RESPONSE = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
static const char *REQUEST = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

int main(int argc, char **argv) {
  int is_server = !strcmp(argv[1], "server"), is_new = !strcmp(argv[4], "1.3");
  char buffer[4096], text[200];
  struct sockaddr_in address = {0};
  socklen_t length = sizeof address;
  int connection, listener = socket(AF_INET, SOCK_STREAM, 0);
  wolfSSL_Init();
  WOLFSSL_CTX *context = wolfSSL_CTX_new(
      is_server ? is_new ? wolfTLSv1_3_server_method() : wolfTLSv1_2_server_method()
                : is_new ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method());
  wolfSSL_CTX_load_verify_locations(context, argv[3], NULL);
  wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  if (argc > 6) {
    wolfSSL_CTX_use_certificate_chain_file(context, argv[5]);
    wolfSSL_CTX_use_PrivateKey_file(context, argv[6], WOLFSSL_FILETYPE_PEM);
  }
  address.sin_family = AF_INET;
  address.sin_port = htons(atoi(argv[2]));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (is_server) {
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 5)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("PORT %d\n", ntohs(address.sin_port));
    fflush(stdout);
  }
  do {
    if (is_server) {
      connection = accept(listener, NULL, NULL);
    } else {
      connection = listener;
      if (connect(connection, (struct sockaddr *)&address, sizeof address)) return 1;
    }
    WOLFSSL *ssl = wolfSSL_new(context);
    wolfSSL_set_fd(ssl, connection);
    int result = is_server ? wolfSSL_accept(ssl) : wolfSSL_connect(ssl);
    if (result == WOLFSSL_SUCCESS && is_server) {
      wolfSSL_read(ssl, buffer, sizeof buffer);
      wolfSSL_write(ssl, RESPONSE, strlen(RESPONSE));
      wolfSSL_shutdown(ssl);
    } else if (result == WOLFSSL_SUCCESS) {
      wolfSSL_write(ssl, REQUEST, strlen(REQUEST));
      result = wolfSSL_read(ssl, buffer, sizeof buffer);
      if (result > 0) printf("%.*s\n", result, buffer);
    }
    if (result <= 0) printf("%s\n", wolfSSL_ERR_error_string(wolfSSL_get_error(ssl, result), text));
    fflush(stdout);
    wolfSSL_free(ssl);
    close(connection);
  } while (is_server);
  return 0;
}
