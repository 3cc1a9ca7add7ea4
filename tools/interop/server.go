// A server of files and a proxy with Go's net/http. The arguments are NAME=VALUE.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func readPool(path string) *x509.CertPool {
	pool := x509.NewCertPool()
	text, err := os.ReadFile(path)
	must(err)
	pool.AppendCertsFromPEM(text)
	return pool
}

func newProxy(target string, transport http.RoundTripper) http.Handler {
	targetURL, err := url.Parse(target)
	must(err)
	proxy := httputil.NewSingleHostReverseProxy(targetURL)
	proxy.Transport = transport
	return proxy
}

func main() {
	values := map[string]string{}
	for _, arg := range os.Args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		values[name] = value
	}
	address := func(name string) string { return "127.0.0.1:" + values[name] }
	serve := func(name string, handler http.Handler) { must(http.ListenAndServe(address(name), handler)) }
	files := http.FileServer(http.Dir(values["DIR"] + "/files"))
	identity, err := tls.LoadX509KeyPair(values["CLIENT_CERT"], values["CLIENT_KEY"])
	must(err)
	config := &tls.Config{RootCAs: readPool(values["SERVER_CA"]), Certificates: []tls.Certificate{identity}, ServerName: "localhost"}
	go serve("FILES", files)
	go serve("PROXY", newProxy("http://"+address("DEGU"), http.DefaultTransport))
	go serve("PROXY_TLS", newProxy("https://"+address("DEGU_TLS"), &http.Transport{TLSClientConfig: config}))
	server := &http.Server{Addr: address("FILES_TLS"), Handler: files, TLSConfig: &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  readPool(values["CLIENT_CA"]),
	}}
	must(server.ListenAndServeTLS(values["SERVER_CERT"], values["SERVER_KEY"]))
}
