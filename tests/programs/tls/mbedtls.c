/* A server or a client of mbedTLS: mbedtls server|client PORT AUTHORITY [CERTIFICATE KEY] */
#include <arpa/inet.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <stdio.h>
#include <string.h>

static const char *RESPONSE = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
static const char *REQUEST = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

static void send_text(mbedtls_ssl_context *ssl, const char *text) {
  mbedtls_ssl_write(ssl, (const unsigned char *)text, strlen(text));
}

int main(int argc, char **argv) {
  int is_server = !strcmp(argv[1], "server"), result;
  unsigned char buffer[4096];
  mbedtls_net_context listener, socket;
  mbedtls_ssl_context ssl;
  mbedtls_ssl_config config;
  mbedtls_entropy_context entropy;
  mbedtls_ctr_drbg_context random;
  mbedtls_x509_crt authority, certificate;
  mbedtls_pk_context key;
  mbedtls_net_init(&listener);
  mbedtls_net_init(&socket);
  mbedtls_ssl_init(&ssl);
  mbedtls_ssl_config_init(&config);
  mbedtls_entropy_init(&entropy);
  mbedtls_ctr_drbg_init(&random);
  mbedtls_x509_crt_init(&authority);
  mbedtls_x509_crt_init(&certificate);
  mbedtls_pk_init(&key);
  mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0);
  mbedtls_x509_crt_parse_file(&authority, argv[3]);
  mbedtls_ssl_config_defaults(&config, is_server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
                              MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
  mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
  mbedtls_ssl_conf_ca_chain(&config, &authority, NULL);
  mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
  if (argc > 5) {
    mbedtls_x509_crt_parse_file(&certificate, argv[4]);
    mbedtls_pk_parse_keyfile(&key, argv[5], NULL);
    mbedtls_ssl_conf_own_cert(&config, &certificate, &key);
  }
  mbedtls_ssl_setup(&ssl, &config);
  if (is_server) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    if (mbedtls_net_bind(&listener, "127.0.0.1", argv[2], MBEDTLS_NET_PROTO_TCP)) return 1;
    getsockname(listener.fd, (struct sockaddr *)&address, &length);
    printf("PORT %d\n", ntohs(address.sin_port));
    fflush(stdout);
  }
  do {
    if (is_server) {
      mbedtls_net_accept(&listener, &socket, NULL, 0, NULL);
    } else {
      mbedtls_net_connect(&socket, "127.0.0.1", argv[2], MBEDTLS_NET_PROTO_TCP);
      mbedtls_ssl_set_hostname(&ssl, "localhost");
    }
    mbedtls_ssl_set_bio(&ssl, &socket, mbedtls_net_send, mbedtls_net_recv, NULL);
    do result = mbedtls_ssl_handshake(&ssl);
    while (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE);
    if (result != 0) {
      printf("the handshake failed: -0x%x\n", -result);
    } else if (is_server) {
      mbedtls_ssl_read(&ssl, buffer, sizeof buffer);
      send_text(&ssl, RESPONSE);
      mbedtls_ssl_close_notify(&ssl);
    } else {
      send_text(&ssl, REQUEST);
      result = mbedtls_ssl_read(&ssl, buffer, sizeof buffer);
      printf("%.*s\n", result > 0 ? result : 0, buffer);
    }
    fflush(stdout);
    mbedtls_net_free(&socket);
    mbedtls_ssl_session_reset(&ssl);
  } while (is_server);
  return 0;
}
