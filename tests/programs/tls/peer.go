// A server or a client of crypto/tls, with certificates on both sides:
// peer server|client PORT AUTHORITY VERSION [CERTIFICATE KEY]
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	role, port, version := os.Args[1], os.Args[2], os.Args[4]
	authority, _ := os.ReadFile(os.Args[3])
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	config := &tls.Config{RootCAs: pool, ClientCAs: pool, ServerName: "localhost"}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	versions := map[string]uint16{"1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	config.MinVersion, config.MaxVersion = versions[version], versions[version]
	if len(os.Args) > 6 {
		pair, err := tls.LoadX509KeyPair(os.Args[5], os.Args[6])
		if err != nil {
			panic(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if role == "server" {
		listener, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			panic(err)
		}
		fmt.Printf("PORT %d\n", listener.Addr().(*net.TCPAddr).Port)
		http.Serve(tls.NewListener(listener, config), http.HandlerFunc(
			func(response http.ResponseWriter, _ *http.Request) { response.Write([]byte("hello")) }))
		return
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	response, err := client.Get("https://127.0.0.1:" + port + "/")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(response.Body)
	fmt.Println(response.Status, string(body))
}
