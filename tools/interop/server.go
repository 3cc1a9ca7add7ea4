// Go as a server of files, and as a proxy: its arguments are NAME=VALUE.
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

func pool(path string) *x509.CertPool {
	made := x509.NewCertPool()
	text, err := os.ReadFile(path)
	must(err)
	made.AppendCertsFromPEM(text)
	return made
}

func proxy(target string, transport http.RoundTripper) http.Handler {
	at, err := url.Parse(target)
	must(err)
	made := httputil.NewSingleHostReverseProxy(at)
	made.Transport = transport
	return made
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
	own, err := tls.LoadX509KeyPair(values["CLIENT_CERT"], values["CLIENT_KEY"])
	must(err)
	config := &tls.Config{RootCAs: pool(values["SERVER_CA"]), Certificates: []tls.Certificate{own}, ServerName: "localhost"}
	go serve("FILES", files)
	go serve("PROXY", proxy("http://"+address("DEGU"), http.DefaultTransport))
	go serve("PROXY_TLS", proxy("https://"+address("DEGU_TLS"), &http.Transport{TLSClientConfig: config}))
	server := &http.Server{Addr: address("FILES_TLS"), Handler: files, TLSConfig: &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  pool(values["CLIENT_CA"]),
	}}
	must(server.ListenAndServeTLS(values["SERVER_CERT"], values["SERVER_KEY"]))
}
